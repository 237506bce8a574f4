package supervisor_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// stockVat is a vat made with go-plugin, vat.proto and docs/workers.md only, and a codec of frames from this module.
type stockVat struct{ plugin.NetRPCUnsupportedPlugin }

func (stockVat) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, nil
}

func (stockVat) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "ocapkernel.v1.Vat", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "Frames", ServerStreams: true, ClientStreams: true, Handler: stockFrames}},
	}, stockVat{})
	return nil
}

// stockFrames greets, sends each message back, and ends with the stream.
func stockFrames(_ any, stream grpc.ServerStream) error {
	for {
		var m wrapperspb.BytesValue
		if err := stream.RecvMsg(&m); err != nil {
			os.Exit(0)
		}
		down, err := wire.DecodeDown(m.Value)
		if err != nil {
			return err
		}
		var up wire.UpFrame
		switch f := down.(type) {
		case wire.Start:
			up = wire.Hello{}
		case wire.Deliver:
			fmt.Println("printed on stdout,", "whole\nand in", "pieces")
			fmt.Fprint(os.Stderr, "printed on stderr ", strings.Repeat("x", 100_000), "\n")
			up = wire.Done{Number: f.Number, Syscalls: []wire.Syscall{wire.Send(f.Delivery.(wire.Call))}}
		case wire.Bye:
			os.Exit(0)
		}
		frame, err := wire.AppendUp(nil, up)
		if err != nil {
			return err
		}
		if err := stream.SendMsg(wrapperspb.Bytes(frame[wire.HeaderBytes:])); err != nil {
			return err
		}
	}
}

func beStockPlugin() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "OCAPKERNEL_WORKER", MagicCookieValue: "1c0b2f61-vat"},
		Plugins:         plugin.PluginSet{"vat": stockVat{}},
		GRPCServer:      plugin.DefaultGRPCServer,
	})
}

// A plugin that go-plugin serves is a worker like any other. This one speaks version 1 of the protocol.
func TestPluginThatGoPluginServes(t *testing.T) {
	h := newHouse(t)
	spec := h.spec("")
	spec.Start.Module = pluginPrefix + "stock"
	w := h.Start(spec, h.events)
	if r := want[workers.Ready](h); r.Version != 1 {
		t.Errorf("got %+v, want version 1", r)
	}
	for n := uint64(1); n <= 20; n++ {
		d := call(n, "echo "+strings.Repeat("é", int(n)))
		if err := w.Deliver(d); err != nil {
			t.Fatal(err)
		}
		wantDone := wire.Done{Number: n, Syscalls: []wire.Syscall{wire.Send(d.Delivery.(wire.Call))}}
		if diff := cmp.Diff(wantDone, want[workers.Done](h).Done); diff != "" {
			t.Fatalf("delivery %d (-want +got):\n%s", n, diff)
		}
	}
	if err := w.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	w.Stop()
	if e := h.wantExit(workers.CauseStopped); e.Pid != w.Pid() {
		t.Errorf("got %+v", e)
	}
	h.close()
	for _, part := range []string{`text="printed on stdout, whole"`, `text="and in pieces"`, `text="printed on stderr xxxx`} {
		if !strings.Contains(h.log.String(), part) {
			t.Errorf("log does not have %s", part)
		}
	}
}

package grpcvat_test

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/grpcvat"
	"ocapkernel.dev/wire"
)

type root struct{ vat.Durable }

// The test binary is also the worker program. These tests are its kernel, by hand; those of package supervisor drive it as
// the kernel does.
func TestMain(m *testing.M) {
	if vat.IsWorker() {
		grpcvat.Main(vat.Modules{"root": func() *root { return &root{} }})
	}
	goleak.VerifyTestMain(m)
}

// schema is the method that vat.proto declares.
func schema(t *testing.T) protoreflect.MethodDescriptor {
	t.Helper()
	c := protocompile.Compiler{Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{ImportPaths: []string{"../../wire"}})}
	files, err := c.Compile(t.Context(), "vat.proto")
	if err != nil {
		t.Fatal(err)
	}
	services := files[0].Services()
	if services.Len() != 1 || services.Get(0).Methods().Len() != 1 {
		t.Fatalf("got %d services", services.Len())
	}
	return services.Get(0).Methods().Get(0)
}

// The code uses no generated code: vat.proto says what it does all the same.
func TestSchemaIsThatOfTheCode(t *testing.T) {
	m := schema(t)
	if string(m.Parent().FullName()) != wire.Service || string(m.Name()) != wire.FramesMethod {
		t.Errorf("vat.proto has %s", m.FullName())
	}
	if !m.IsStreamingClient() || !m.IsStreamingServer() {
		t.Error("the method of vat.proto is no stream both ways")
	}
	for _, d := range []protoreflect.MessageDescriptor{m.Input(), m.Output()} {
		got := dynamicpb.NewMessage(d)
		frame := make([]byte, 1<<20)
		b, err := proto.Marshal(wrapperspb.Bytes(frame))
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > len(frame)+wire.EnvelopeBytes {
			t.Errorf("a message has %d bytes beyond its frame", len(b)-len(frame))
		}
		if err := proto.Unmarshal(b, got); err != nil || len(got.Get(d.Fields().ByName("value")).Bytes()) != len(frame) {
			t.Errorf("what the code sends is no %s: %v", d.FullName(), err)
		}
	}
}

// host is the other side of the plugin: its connection.
type host struct{ plugin.NetRPCUnsupportedPlugin }

func (host) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (host) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

// serve starts the worker, with the descriptors that it insists on, and returns go-plugin's connection to it and the
// kernel's end of the first descriptor.
func serve(t *testing.T) (_ *grpc.ClientConn, cmd *exec.Cmd, data *os.File) {
	t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Env = []string{"PLUGIN_UNIX_SOCKET_DIR=" + t.TempDir()} // a worker that ends by itself leaves its socket
	for range 2 {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
		t.Cleanup(func() { _ = ours.Close() })
		defer theirs.Close()
		if data == nil {
			data = ours
		}
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: wire.Version, MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		Plugins:         plugin.PluginSet{wire.PluginName: host{}}, Cmd: cmd,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
	})
	t.Cleanup(client.Kill)
	protocol, err := client.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := protocol.Ping(); err != nil {
		t.Errorf("health: %v", err)
	}
	conn, err := protocol.Dispense(wire.PluginName)
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*grpc.ClientConn), cmd, data
}

func open(ctx context.Context, t *testing.T, c *grpc.ClientConn) grpc.ClientStream {
	t.Helper()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+wire.Service+"/"+wire.FramesMethod)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// say sends a frame and returns the answer.
func say(t *testing.T, s grpc.ClientStream, f wire.DownFrame) (wire.UpFrame, error) {
	t.Helper()
	b, err := wire.AppendDown(nil, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(wrapperspb.Bytes(b[wire.HeaderBytes:])); err != nil {
		return nil, err
	}
	var m wrapperspb.BytesValue
	if err := s.RecvMsg(&m); err != nil {
		return nil, err
	}
	return wire.DecodeUp(m.Value, wire.Limits{})
}

// A worker has one stream. A second call is refused, and its frames have no effect; the end of the first is the end of the
// process.
func TestSecondCallIsRefused(t *testing.T) {
	conn, cmd, _ := serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := open(ctx, t, conn)
	if up, err := say(t, first, wire.Start{Vat: "v1", Module: "root"}); err != nil || up != (wire.Hello{}) {
		t.Fatalf("got %v, %v", up, err)
	}
	if _, err := say(t, open(t.Context(), t, conn), wire.Start{Vat: "v2", Module: "root"}); status.Code(err) != codes.FailedPrecondition {
		t.Errorf("second call: got %v", err)
	}
	if _, err := say(t, first, wire.Deliver{Number: 1, Delivery: wire.StartVat{}}); err != nil {
		t.Errorf("first call, after the second: %v", err)
	}
	cancel()
	wantEnd(t, cmd)
}

// wantEnd waits for the end of the process, which go-plugin reaps.
func wantEnd(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if unix.Kill(cmd.Process.Pid, 0) == unix.ESRCH {
			return
		}
	}
	t.Error("the worker lives on")
}

// A kernel that dies closes its end of the descriptor, which ends the worker, although go-plugin would go on serving.
func TestEndOfTheDescriptorEndsTheWorker(t *testing.T) {
	conn, cmd, kernel := serve(t)
	if _, err := say(t, open(t.Context(), t, conn), wire.Start{Vat: "v1", Module: "root"}); err != nil {
		t.Fatal(err)
	}
	_ = kernel.Close()
	wantEnd(t, cmd)
}

// Package grpcvat makes a worker program that is a plugin as hashicorp/go-plugin serves them: its frames travel over a
// gRPC stream instead of an inherited descriptor. Its main is
//
//	func main() { grpcvat.Main(vat.Modules{"greeter": newGreeter}) }
//
// and nothing else of the program differs. A Go program gains nothing by it: such a worker is slower, three times as large
// and takes twice the memory, since only a program that imports this package links go-plugin and gRPC. It is for
// programs that are go-plugin plugins already, and is the worked example of docs/workers.md, which describes plugins in other
// languages.
package grpcvat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
)

// Main is the whole main function of a worker program, as [vat.Main] is.
func Main(modules vat.Modules) { vat.MainOver(Transport, modules) }

// Transport is the [worker.Transport] that serves a plugin. It returns when the kernel has opened the stream of frames.
func Transport(handshake *os.File, log *slog.Logger) (worker.Frames, error) {
	p := &served{streams: make(chan *frames)}
	stdout, stderr := os.Stdout, os.Stderr
	os.Stdout = handshake // Serve writes the handshake to it
	over := make(chan struct{})
	go func() {
		defer close(over)
		plugin.Serve(&plugin.ServeConfig{
			HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
			VersionedPlugins: map[int]plugin.PluginSet{wire.Version: {wire.PluginName: p}},
			GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
				return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(wire.MaxDownFrameBytes+wire.EnvelopeBytes))...)
			},
			Logger: hclog.New(&hclog.LoggerOptions{
				Level: hclog.LevelFromString(logging.LevelName(logging.LevelOf(log))), Output: stderr, JSONFormat: true,
			}),
		})
	}()
	select {
	case f := <-p.streams:
		// Before it took the call, Serve has replaced both by pipes, for go-plugin's own stream of output.
		os.Stdout, os.Stderr = stdout, stderr
		_ = handshake.Close()      // the kernel has read the handshake
		signal.Reset(os.Interrupt) // Serve ignores the signal; in a worker it has its usual effect
		return f, nil
	case <-over:
		return nil, errors.New("go-plugin has ended before the kernel called")
	}
}

// served is the plugin, and its own gRPC service.
type served struct {
	plugin.NetRPCUnsupportedPlugin
	called  atomic.Bool
	streams chan *frames // takes the stream of the one call
}

var service = grpc.ServiceDesc{
	ServiceName: wire.Service,
	HandlerType: (*any)(nil),
	Streams: []grpc.StreamDesc{{
		StreamName: wire.FramesMethod, ServerStreams: true, ClientStreams: true,
		Handler: func(p any, stream grpc.ServerStream) error { return p.(*served).serve(stream) },
	}},
	Metadata: "wire/vat.proto",
}

// GRPCServer is part of being a [plugin.GRPCPlugin].
func (p *served) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	s.RegisterService(&service, p)
	return nil
}

// GRPCClient is part of being a [plugin.GRPCPlugin]. The kernel has a plugin of its own for its side.
func (*served) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the worker's side")
}

// serve handles a call of Frames. The end of the call ends the process, even in the middle of a crank.
func (p *served) serve(stream grpc.ServerStream) error {
	if p.called.Swap(true) {
		return status.Error(codes.FailedPrecondition, "this worker has its stream")
	}
	f := &frames{stream: stream, closed: make(chan struct{})}
	p.streams <- f // Transport waits for it
	select {
	case <-f.closed:
		return nil
	case <-stream.Context().Done():
		os.Exit(0)
		return nil
	}
}

// frames is the stream of frames on a call of Frames.
type frames struct {
	stream grpc.ServerStream
	closed chan struct{}
}

// Read is part of being a [worker.Frames].
func (f *frames) Read([]byte) ([]byte, error) {
	var m wrapperspb.BytesValue
	err := f.stream.RecvMsg(&m)
	switch {
	case status.Code(err) == codes.Canceled:
		return nil, io.EOF
	case err != nil:
		return nil, err
	case len(m.Value) == 0:
		return nil, errors.New("empty frame")
	}
	return m.Value, nil
}

// Write is part of being a [worker.Frames].
func (f *frames) Write(frame []byte) error {
	if err := f.stream.SendMsg(&wrapperspb.BytesValue{Value: frame[wire.HeaderBytes:]}); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Close is part of being a [worker.Frames]. gRPC does not say when a message has left the process. The kernel ends the
// process when it has read the last one.
func (f *frames) Close() {
	close(f.closed)
	<-time.After(time.Second)
}

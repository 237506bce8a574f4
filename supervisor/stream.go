package supervisor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// stream is a link to a worker that go-plugin serves over gRPC: the stream of one call.
//
// A stream uses two of go-plugin's own services: health, for pings, and stdio, for the worker's output, which is logged. It
// refuses the broker, by which a worker could make the kernel listen and dial, and the controller's shutdown: a worker ends by
// Bye, and by SIGKILL.
type stream struct {
	ctx    context.Context // of the call and of the pings
	cancel context.CancelFunc
	conn   *pluginConn
	client plugin.ClientProtocol
	call   grpc.ClientStream
	health grpc_health_v1.HealthClient
	asking chan struct{} // holds one value while a ping is unanswered
	data   io.Closer     // the supervisor's end of DataFD; the worker sees by its end that the kernel has ended
	pings  sync.WaitGroup
}

const (
	// answerBytes bounds a message from the worker that is no frame.
	answerBytes = 64 << 10
	// windowBytes bounds the bytes of a worker's frames that are read before the supervisor asks for them.
	windowBytes = 256 << 10
)

// vatPlugin is the plugin as go-plugin dispenses it to the kernel: its connection.
type vatPlugin struct{ plugin.NetRPCUnsupportedPlugin }

// GRPCServer is part of being a [plugin.GRPCPlugin].
func (vatPlugin) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("supervisor: a worker is served elsewhere")
}

// GRPCClient is part of being a [plugin.GRPCPlugin].
func (vatPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

// dialOptions returns the options of the connection to a plugin. They come after go-plugin's own options, and override them.
func dialOptions(s *pluginSocket) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(s.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytes)),
		grpc.WithMaxHeaderListSize(16 << 10),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		// A window of a fixed size: gRPC's own would grow to 16 MiB.
		grpc.WithStaticStreamWindowSize(windowBytes),
		grpc.WithStaticConnWindowSize(windowBytes),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, call grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			if strings.HasPrefix(method, "/plugin.GRPCBroker/") {
				return nil, status.Error(codes.Unimplemented, "the kernel has no broker")
			}
			return call(ctx, d, c, method, opts...)
		}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, c *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasPrefix(method, "/plugin.GRPCController/") {
				return status.Error(codes.Unimplemented, "the kernel ends a worker by itself")
			}
			return call(ctx, method, req, reply, c, opts...)
		}),
	}
}

// openStream connects to the plugin, in go-plugin's way, and calls Frames. It returns an error if over is closed before that is
// done. If it returns no error, the stream owns the data socket.
func openStream(client *plugin.Client, socket *pluginSocket, data io.Closer, limits wire.Limits, over ...<-chan struct{}) (_ *stream, err error) {
	s := &stream{asking: make(chan struct{}, 1), data: data}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	opened := make(chan struct{})
	defer close(opened)
	for _, ch := range over {
		go func() {
			select {
			case <-ch:
				s.cancel()
				socket.abort()
			case <-opened:
			}
		}()
	}
	defer func() {
		if err == nil {
			return
		}
		s.cancel()
		socket.abort()
		if s.client != nil {
			_ = s.client.Close() // the stream failed: an error of closing adds nothing
		}
	}()
	if s.client, err = client.Client(); err != nil {
		return nil, fmt.Errorf("connect to the plugin: %s", told(err))
	}
	dispensed, err := s.client.Dispense(wire.PluginName)
	if err != nil {
		return nil, err
	}
	conn := dispensed.(*grpc.ClientConn)
	s.health = grpc_health_v1.NewHealthClient(conn)
	s.call, err = conn.NewStream(s.ctx,
		&grpc.StreamDesc{StreamName: wire.FramesMethod, ServerStreams: true, ClientStreams: true}, "/"+wire.Service+"/"+wire.FramesMethod,
		grpc.MaxCallRecvMsgSize(limits.FrameBytes+wire.EnvelopeBytes), grpc.MaxCallSendMsgSize(wire.MaxDownFrameBytes+wire.EnvelopeBytes))
	if err != nil {
		return nil, fmt.Errorf("connect to the plugin: %s", told(err))
	}
	s.conn = socket.connection()
	return s, nil
}

// told returns the code and message of a gRPC error, without the text that gRPC puts around them.
func told(err error) string {
	s := status.Convert(err)
	return s.Code().String() + ": " + s.Message()
}

// offer returns 0, as it sends nothing: any call of gRPC that sends may wait.
func (s *stream) offer([]byte) int { return 0 }

func (s *stream) send(out []byte) error {
	for len(out) > 0 {
		n := wire.HeaderBytes + int(binary.LittleEndian.Uint32(out))
		if err := s.call.SendMsg(wrapperspb.Bytes(out[wire.HeaderBytes:n])); err != nil {
			return err
		}
		out = out[n:]
	}
	return nil
}

// streamEnd is the end of the stream, or of the connection, as gRPC tells it.
type streamEnd struct{ status *status.Status }

func (e streamEnd) Error() string { return told(e.status.Err()) }

func (s *stream) next(_ []byte, limit int) ([]byte, error) {
	var m wrapperspb.BytesValue
	err := s.call.RecvMsg(&m)
	n := len(m.GetValue())
	switch {
	case status.Code(err) == codes.ResourceExhausted:
		return nil, fmt.Errorf("%s: frame %w of %d", told(err), wire.ErrLimit, limit)
	case errors.Is(err, io.EOF):
		return nil, io.EOF
	case err != nil:
		return nil, streamEnd{status.Convert(err)}
	case n == 0:
		return nil, errors.New("empty frame")
	case n > limit:
		return nil, fmt.Errorf("frame of %d bytes, %w of %d", n, wire.ErrLimit, limit)
	}
	return m.Value, nil
}

// verdict distinguishes the end of the process or of the call from bytes that are not HTTP/2 or not gRPC. In the second case
// gRPC gives up the connection while its other end is still open, which the connection reports.
func (s *stream) verdict(err error) verdict {
	crash := verdict{cause: workers.CauseCrash, open: true}
	var end streamEnd
	switch {
	case errors.Is(err, io.EOF), errors.As(err, &end) && s.conn.ended():
		return crash
	case end.status == nil:
		return frameVerdict(err)
	}
	switch end.status.Code() {
	case codes.Canceled: // by this package, when the process had ended
	case codes.Unavailable, codes.Internal:
		return frameVerdict(err)
	default: // a status that the worker has sent
		crash.detail = clean(err.Error(), 1000)
	}
	return crash
}

// ping calls go-plugin's service health. Only one call is under way at a time: a ping waits until the call of the ping before it
// has ended, even if that ping was given up, so that calls to a process that stands still do not pile up.
func (s *stream) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	select {
	case s.asking <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	answer := make(chan error, 1)
	s.pings.Go(func() {
		defer func() { <-s.asking }()
		got, err := s.health.Check(s.ctx, &grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
		switch {
		case err != nil:
			err = errors.New(clean(told(err), 300))
		case got.Status != grpc_health_v1.HealthCheckResponse_SERVING:
			err = fmt.Errorf("the process says that it is %s", got.Status)
		}
		answer <- err
	})
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *stream) cut(after time.Duration) {
	if after == 0 {
		s.cancel()
		return
	}
	time.AfterFunc(after, s.cancel)
}

func (s *stream) close() {
	s.cancel()
	s.pings.Wait()
	_ = s.client.Close() // the process has ended
	_ = s.data.Close()
}

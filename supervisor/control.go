package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// controlPlane is go-plugin's own connection to a worker: for health, and for nothing else. It is made
// when first used, because it costs more than the rest of a start.
type controlPlane struct {
	mu struct {
		sync.Mutex
		client *plugin.GRPCClient
		closed bool
	}
}

// controlTime bounds each control call that brings no deadline: go-plugin's own have none.
const controlTime = time.Second

// Ping asks the worker's process whether it is well, and waits for the answer until ctx ends, or a second. It says nothing
// about the vat: a vat that loops is well. An error is no reason to kill a worker, only its deadlines are.
func (w *worker) Ping(ctx context.Context) error {
	client, err := w.controlClient()
	if err != nil {
		return fmt.Errorf("control connection of %s: %w", w.spec.Start.Vat, err)
	}
	r, err := grpc_health_v1.NewHealthClient(client.Conn).Check(ctx,
		&grpc_health_v1.HealthCheckRequest{Service: plugin.GRPCServiceName})
	if err != nil {
		return fmt.Errorf("ping %s: %w", w.spec.Start.Vat, err)
	}
	if r.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		return fmt.Errorf("ping %s: it says %s", w.spec.Start.Vat, r.GetStatus())
	}
	return nil
}

func (w *worker) controlClient() (*plugin.GRPCClient, error) {
	w.mu.Lock()
	early, late := w.mu.phase == starting, w.dying()
	w.mu.Unlock()
	if early {
		return nil, errors.New("worker is not ready")
	}
	c := &w.control
	c.mu.Lock()
	defer c.mu.Unlock()
	if late || c.mu.closed {
		return nil, errors.New("worker has ended")
	}
	if c.mu.client == nil {
		p, err := w.proc.plug.Client() // connects in the background
		if err != nil {
			return nil, err
		}
		client, ok := p.(*plugin.GRPCClient)
		if !ok {
			return nil, fmt.Errorf("go-plugin made a %T", p)
		}
		c.mu.client = client
	}
	return c.mu.client, nil
}

// close releases the connection, if there is one, and admits no other.
func (c *controlPlane) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.closed = true
	if c.mu.client != nil {
		_ = c.mu.client.Close() // its farewell call is refused by dialOptions
	}
}

// dialControl hands out our end of the control socket, once: a worker that closes it gets no other.
func (p *process) dialControl(context.Context, string) (net.Conn, error) {
	p.mu.Lock()
	f := p.mu.control
	p.mu.control = nil
	p.mu.Unlock()
	if f == nil {
		return nil, errors.New("control socket is used up")
	}
	defer f.Close() // the conn is a duplicate
	return net.FileConn(f)
}

// dialOptions come after go-plugin's own, and so prevail.
func dialOptions(dial func(context.Context, string) (net.Conn, error)) []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithContextDialer(dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64<<10), grpc.MaxCallSendMsgSize(64<<10)),
		grpc.WithMaxHeaderListSize(16 << 10),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithIdleTimeout(0), // a connection that is given up when it is idle cannot be made again
		// Brokered connections and copied stdio are ways for a worker to grow the kernel without bound.
		grpc.WithChainStreamInterceptor(func(_ context.Context, _ *grpc.StreamDesc, _ *grpc.ClientConn, method string, _ grpc.Streamer, _ ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, status.Errorf(codes.Unimplemented, "%s is refused", method)
		}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			if strings.HasPrefix(method, "/plugin.GRPCController/") {
				return status.Errorf(codes.Unimplemented, "%s is refused: a worker is stopped by bye", method)
			}
			if _, ok := ctx.Deadline(); !ok {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, controlTime)
				defer cancel()
			}
			return invoke(ctx, method, req, reply, cc, opts...)
		}),
	}
}

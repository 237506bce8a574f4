package supervisor

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// A worker is pinged again after a day in which nobody has asked: its connection is there still, and is made once only.
func TestAnIdleControlConnectionIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		server := grpc.NewServer()
		grpc_health_v1.RegisterHealthServer(server, health.NewServer())
		listener := &once{conn: make(chan net.Conn, 1), closed: make(chan struct{})}
		listener.conn <- theirs
		served := make(chan error, 1)
		go func() { served <- server.Serve(listener) }()
		used := false
		client, err := grpc.NewClient("passthrough:worker", append(dialOptions(func(context.Context, string) (net.Conn, error) {
			if used {
				return nil, errors.New("control socket is used up")
			}
			used = true
			return ours, nil
		}), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, err := grpc_health_v1.NewHealthClient(client).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
			if err != nil {
				t.Error(err)
			}
			<-time.After(24 * time.Hour)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		<-served // how it ends is not asked
	})
}

// once is a listener with one connection.
type once struct {
	conn   chan net.Conn
	closed chan struct{}
}

func (l *once) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *once) Close() error { close(l.closed); return nil }

func (l *once) Addr() net.Addr { return &net.UnixAddr{} }

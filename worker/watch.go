package worker

import (
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"ocapkernel.dev/wire"
)

// watch ends the process when the kernel's end of DataFD closes, and serves the control connection once
// the kernel speaks on it. It owns a thread that sleeps in poll(2), so it works while the vat computes
// or loops, and costs a crank nothing: bytes that arrive on DataFD do not wake it, since it asks for
// the end alone.
func watch() {
	fds := []unix.PollFd{
		{Fd: wire.DataFD, Events: unix.POLLRDHUP},
		{Fd: wire.ControlFD, Events: unix.POLLIN},
	}
	for {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			os.Exit(exitFailed)
		}
		if fds[0].Revents != 0 {
			os.Exit(exitDone)
		}
		if len(fds) == 2 && fds[1].Revents != 0 {
			if fds[1].Revents&unix.POLLIN != 0 {
				go control()
			}
			fds = fds[:1]
		}
	}
}

// control serves go-plugin's own protocol, health and shutdown, on ControlFD.
//
// It is the server that [plugin.Serve] makes, without what Serve adds around it and a worker is better
// off without: a socket in the file system to which others can connect, pipes in place of os.Stdout
// that block the vat when the kernel does not drain them, and all of it at each start, needed or not.
func control() {
	file := os.NewFile(wire.ControlFD, "control")
	c, err := net.FileConn(file)
	_ = file.Close() // c is a duplicate
	if err != nil {
		return
	}
	lis := &onceListener{conn: make(chan net.Conn, 1), done: make(chan struct{}), addr: c.LocalAddr()}
	lis.conn <- c
	done := make(chan struct{})
	// The server copies these two until they end, then logs that through a logger that only Serve can
	// set: so they never end.
	quiet, _ := io.Pipe()
	srv := &plugin.GRPCServer{
		Server: func(opts []grpc.ServerOption) *grpc.Server {
			return plugin.DefaultGRPCServer(append(opts, grpc.MaxRecvMsgSize(64<<10)))
		},
		Stdout: quiet, Stderr: quiet, DoneCh: done,
	}
	if err := srv.Init(); err != nil {
		fmt.Fprintf(os.Stderr, "worker: control plane: %v\n", err)
		return
	}
	srv.Serve(lis) // returns when the kernel asked for shutdown
	os.Exit(exitDone)
}

// onceListener is a listener with one connection, which it has already.
type onceListener struct {
	conn chan net.Conn
	done chan struct{}
	once sync.Once
	addr net.Addr
}

func (l *onceListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conn:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *onceListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *onceListener) Addr() net.Addr { return l.addr }

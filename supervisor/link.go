package supervisor

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// A link carries frames to a worker and back. There are two kinds: a [descriptor], on a socket that the worker has
// inherited, and a [stream], by gRPC. The address in a worker's handshake says which one the worker uses. A link checks
// that a frame is no longer than is allowed, and nothing else.
//
// All methods but next may be called from any goroutine; offer and send never at the same time.
type link interface {
	// offer sends as many bytes of out, a frame with its header, as the worker takes at once, and returns their number. It
	// does not wait.
	offer(out []byte) int
	// send sends out, and waits until the worker has taken it. First in out is the rest of a frame that offer has not sent;
	// whole frames may follow.
	send(out []byte) error
	// next waits for the next frame and returns it without its header, in buf if that is large enough. A frame that is
	// longer than limit is refused before it is read.
	next(buf []byte, limit int) ([]byte, error)
	// verdict returns the cause of the worker's end, as far as an error of next shows it.
	verdict(err error) verdict
	// ping asks the worker's process for a sign of life.
	ping(ctx context.Context) error
	// cut makes next and send fail after a time, zero for at once, whether the worker lives or not.
	cut(after time.Duration)
	// close releases the link's descriptors and goroutines. The worker's process has ended, and no other method is under way.
	close()
}

// descriptor is a link on a socketpair, whose other end is the worker's descriptor [wire.DataFD]. Pings travel on another
// socketpair.
type descriptor struct {
	conn    *net.UnixConn
	raw     syscall.RawConn
	in      *bufio.Reader
	control *control
}

func newDescriptor(conn *net.UnixConn, c *control) (*descriptor, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &descriptor{conn: conn, raw: raw, in: bufio.NewReaderSize(conn, 4<<10), control: c}, nil
}

func (d *descriptor) offer(out []byte) (sent int) {
	fault.Torn(fault.FrameTorn, out, d.conn.Write)
	// An error of the socket is not reported here, since next sees it as well.
	_ = d.raw.Write(func(fd uintptr) bool {
		for {
			n, err := unix.Write(int(fd), out)
			if err == unix.EINTR {
				continue
			}
			sent = max(n, 0)
			return true // never wait
		}
	})
	return sent
}

func (d *descriptor) send(out []byte) error {
	_, err := d.conn.Write(out)
	return err
}

func (d *descriptor) next(buf []byte, limit int) ([]byte, error) {
	return wire.ReadFrame(d.in, buf, limit)
}

// verdict distinguishes the end of the socket, which has an unknown cause here, from bytes that begin no frame.
func (d *descriptor) verdict(err error) verdict {
	var op *net.OpError
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &op) {
		return verdict{cause: workers.CauseCrash, open: true}
	}
	return frameVerdict(err)
}

func (d *descriptor) ping(ctx context.Context) error { return d.control.ping(ctx) }

func (d *descriptor) cut(after time.Duration) {
	at := time.Unix(1, 0)
	if after > 0 {
		at = time.Now().Add(after)
	}
	_ = d.conn.SetDeadline(at) // fails only if the link is closed, when no method reads or writes
}

func (d *descriptor) close() {
	_ = d.conn.Close()
	d.control.close()
}

package ioservice

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A console is a link to standard input and output. They belong to the process and are not closed, and may be
// descriptors that block. An *os.File is used only when poll reports it ready, beside a pipe that interrupts
// the waiting. Any other reader or writer is used by a goroutine that may have to be left behind.
type console struct {
	cfg      Config
	in       io.Reader
	out      io.Writer
	deadline time.Time
	// tear and stuck are for the goroutine that writes. stuck gives the outcome of a write of stuckBytes that
	// was left behind, and that has the output until then.
	tear       tear
	stuck      <-chan outcome
	stuckBytes int
	// done is closed by Interrupt, together with wake, which ends polls.
	done        chan struct{}
	wake, awake *os.File
}

func openConsole(cfg Config, o Options) (*console, error) {
	switch {
	case cfg.reads() && o.Stdin == nil:
		return nil, cfg.fail(fs.ErrInvalid, ": there is no standard input: run the kernel in the foreground, or make the direction out")
	case cfg.writes() && o.Stdout == nil:
		return nil, cfg.fail(fs.ErrInvalid, ": there is no standard output: run the kernel in the foreground, or make the direction in")
	}
	awake, wake, err := os.Pipe()
	if err != nil {
		return nil, cfg.fail(err, ": %v", err)
	}
	return &console{cfg: cfg, in: o.Stdin, out: o.Stdout, done: make(chan struct{}), wake: wake, awake: awake}, nil
}

func (c *console) Read(buf []byte) (int, error) {
	if file, ok := c.in.(*os.File); ok {
		return c.once(file, unix.POLLIN, time.Time{}, func(fd int) (int, error) {
			n, err := unix.Read(fd, buf)
			if n == 0 && err == nil {
				err = io.EOF
			}
			return n, err
		})
	}
	own := make([]byte, len(buf)) // the caller's buffer is not for a goroutine that is left behind
	o, err := c.await(apart(func() (int, error) { return c.in.Read(own) }), time.Time{})
	if err != nil {
		return 0, err
	}
	copy(buf, own[:o.n])
	if o.n > 0 && errors.Is(o.err, io.EOF) {
		o.err = nil // the error comes again
	}
	return o.n, o.err
}

// SetWriteDeadline is called by the goroutine that writes.
func (c *console) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

// Write writes the data, or returns ErrConnectionLost if the other end is gone. It may come back: a pipe may be
// opened again.
func (c *console) Write(data []byte) (int, error) {
	if file, ok := c.out.(*os.File); ok {
		n, err := c.tear.write(c.cfg, data, func(data []byte) (int, error) { return c.writeFile(file, data) })
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EIO) || errors.Is(err, os.ErrClosed) { // unix.EIO is a terminal's error
			err = c.cfg.lost()
		}
		return n, err
	}
	if !time.Now().Before(c.deadline) {
		return 0, os.ErrDeadlineExceeded
	}
	if c.stuck != nil {
		o, err := c.await(c.stuck, c.deadline)
		if err != nil {
			return 0, err
		}
		c.stuck, c.tear = nil, o.n > 0 && o.n < c.stuckBytes // the error of that write was reported already: it took too long
	}
	return c.tear.write(c.cfg, data, c.writeApart)
}

func (c *console) writeFile(file *os.File, data []byte) (int, error) {
	total := 0
	for total < len(data) {
		// When poll reports a descriptor ready, a pipe takes 4096 bytes without blocking, and a terminal fewer.
		rest := data[total:min(len(data), total+512)]
		n, err := c.once(file, unix.POLLOUT, c.deadline, func(fd int) (int, error) { return unix.Write(fd, rest) })
		total += max(n, 0)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// writeApart writes to a writer that is no file. The write may be left behind.
func (c *console) writeApart(data []byte) (int, error) {
	result := apart(func() (int, error) { return c.out.Write(data) })
	o, err := c.await(result, c.deadline)
	if err != nil {
		c.stuck, c.stuckBytes = result, len(data)
		return 1, err // the number is not known; 0 would mean that no byte was written
	}
	if o.err != nil {
		o.err = c.cfg.lost()
	}
	return o.n, o.err
}

// once waits until a file is ready, and calls do with its descriptor.
func (c *console) once(file *os.File, events int16, deadline time.Time, do func(fd int) (int, error)) (int, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var doErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if doErr = c.ready(int(fd), events, deadline); doErr != nil {
				return
			}
			n, doErr = do(int(fd))
			if !errors.Is(doErr, unix.EAGAIN) && !errors.Is(doErr, unix.EINTR) {
				return
			}
		}
	})
	return max(n, 0), errors.Join(err, doErr)
}

// ready waits until a descriptor is ready, or the deadline, or Interrupt.
func (c *console) ready(fd int, events int16, deadline time.Time) (err error) {
	raw, err := c.awake.SyscallConn()
	if err != nil {
		return err
	}
	controlErr := raw.Control(func(awake uintptr) {
		for {
			timeout := -1
			if !deadline.IsZero() {
				timeout = int(max(0, time.Until(deadline)+time.Millisecond-1) / time.Millisecond)
			}
			fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(awake)}}
			n, pollErr := unix.Poll(fds, timeout)
			switch {
			case errors.Is(pollErr, unix.EINTR):
				continue
			case pollErr != nil:
				err = pollErr
			case fds[1].Revents != 0:
				err = os.ErrClosed
			case n == 0:
				err = os.ErrDeadlineExceeded
			}
			return
		}
	})
	return errors.Join(err, controlErr)
}

// An outcome is the result of a read or a write that ran apart.
type outcome struct {
	n   int
	err error
}

// apart calls do in a goroutine of its own, which may have to be left behind.
func apart(do func() (int, error)) <-chan outcome {
	result := make(chan outcome, 1)
	go func() {
		n, err := do()
		result <- outcome{n, err}
	}()
	return result
}

// await waits for an outcome. It returns an error if the deadline or Interrupt comes first.
func (c *console) await(result <-chan outcome, deadline time.Time) (outcome, error) {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case o := <-result:
		return o, nil
	case <-expired:
		return outcome{}, os.ErrDeadlineExceeded
	case <-c.done:
		return outcome{}, os.ErrClosed
	}
}

// Interrupt is called once by the stream when it is closed, and once more by its run.
func (c *console) Interrupt() {
	select {
	case <-c.done:
	default:
		close(c.done)
		_ = c.wake.Close() // the other end sees it
	}
}

func (c *console) Gone() bool { return false }
func (c *console) Linger()    {}

func (c *console) Close() error { return c.awake.Close() }

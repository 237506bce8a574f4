package ioservice

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A console is a link to standard input and output, which are not ours to close, and which may be descriptors
// that block. What is an *os.File is used only when poll says that it is ready, beside a pipe that
// interrupts the waiting. Anything else is used by a goroutine that may have to be left behind.
type console struct {
	cfg      Config
	in       io.Reader
	out      io.Writer
	deadline time.Time
	// done is closed by Interrupt, and wake is closed then, which ends polls.
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
	own := make([]byte, len(buf)) // the caller's is not for a goroutine that is left behind
	n, err := c.apart(time.Time{}, func() (int, error) { return c.in.Read(own) })
	copy(buf, own[:n])
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil // it comes again
	}
	return n, err
}

// SetWriteDeadline is called by the goroutine that writes.
func (c *console) SetWriteDeadline(t time.Time) error {
	c.deadline = t
	return nil
}

func (c *console) Write(data []byte) (int, error) {
	file, ok := c.out.(*os.File)
	if !ok {
		if !time.Now().Before(c.deadline) {
			return 0, os.ErrDeadlineExceeded
		}
		n, err := c.apart(c.deadline, func() (int, error) { return c.out.Write(data) })
		if errors.Is(err, os.ErrDeadlineExceeded) {
			n = 1 // nobody knows: not to be written again
		}
		return n, err
	}
	total := 0
	for total < len(data) {
		// Of what is ready, a pipe takes 4096 bytes without blocking, and a terminal less.
		rest := data[total:min(len(data), total+512)]
		n, err := c.once(file, unix.POLLOUT, c.deadline, func(fd int) (int, error) { return unix.Write(fd, rest) })
		total += max(n, 0)
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// once waits until a file is ready, and does something to it.
func (c *console) once(file *os.File, events int16, deadline time.Time, do func(fd int) (int, error)) (int, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var doErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if doErr = c.await(int(fd), events, deadline); doErr != nil {
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

// await waits until a descriptor is ready, or the deadline, or Interrupt.
func (c *console) await(fd int, events int16, deadline time.Time) (err error) {
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

// apart does something in a goroutine of its own, and leaves that behind at the deadline, or at Interrupt.
func (c *console) apart(deadline time.Time, do func() (int, error)) (int, error) {
	type outcome struct {
		n   int
		err error
	}
	result := make(chan outcome, 1)
	go func() {
		n, err := do()
		result <- outcome{n, err}
	}()
	var expired <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case r := <-result:
		return r.n, r.err
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	case <-c.done:
		return 0, os.ErrClosed
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

package worker

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/wire"
)

// conn exchanges the frames of a vat and its kernel, over either transport.
type conn struct {
	frames                     Frames
	maxFrameBytes, maxSyscalls int

	// mu orders the vat's goroutines among each other, and the last of them before the Done.
	mu struct {
		sync.Mutex
		crank bool // a delivery is with the vat, so the kernel answers reads
	}
	// ahead are deliveries that arrived while the vat was waiting for the answer to a read: in a replay the kernel sends some
	// in advance. The rule of the buffers holds for ahead, too.
	ahead []wire.Deliver
	// During a crank, the goroutine that holds mu may use the buffers; between cranks serve may.
	rbuf, wbuf []byte
}

// serve does cranks until the kernel says bye or the stream ends.
func (c *conn) serve(vat Vat) error {
	for {
		d, err := c.next()
		if err != nil {
			return err
		}
		c.setCrank(true)
		done := vat.Deliver(d)
		c.setCrank(false)
		fault.Point(fault.InWorkerCrankDone)
		done.Number = d.Number
		if err := c.finish(done); err != nil {
			return err
		}
	}
}

// next returns the next delivery.
func (c *conn) next() (wire.Deliver, error) {
	if len(c.ahead) > 0 {
		d := c.ahead[0]
		c.ahead = c.ahead[1:]
		return d, nil
	}
	f, err := c.read()
	if err != nil {
		return wire.Deliver{}, err
	}
	d, ok := f.(wire.Deliver)
	if !ok {
		return wire.Deliver{}, fmt.Errorf("a %T between cranks", f)
	}
	return d, nil
}

func (c *conn) setCrank(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.crank = on
}

// finish sends the end of a crank.
func (c *conn) finish(done wire.Done) (err error) {
	if c.wbuf, err = AppendDone(c.wbuf[:0], done, wire.Start{MaxFrameBytes: c.maxFrameBytes, MaxSyscalls: c.maxSyscalls}); err != nil {
		return err
	}
	return c.flush()
}

// AppendDone appends the frame that ends a crank, with its header, to buf. A crank that does not fit the limits of
// start, or no frame at all, ends as a fault that names the limit: the frame itself would end the worker.
func AppendDone(buf []byte, done wire.Done, start wire.Start) ([]byte, error) {
	var err error
	out := buf
	if n := len(done.Syscalls); start.MaxSyscalls > 0 && n > start.MaxSyscalls {
		err = fmt.Errorf("crank makes %d syscalls, the limit is %d", n, start.MaxSyscalls)
	} else if out, err = wire.AppendUp(buf, done); err == nil {
		if n := len(out) - len(buf) - wire.HeaderBytes; start.MaxFrameBytes > 0 && n > start.MaxFrameBytes {
			err = fmt.Errorf("crank makes a frame of %d bytes, the limit is %d", n, start.MaxFrameBytes)
		}
	}
	if err != nil {
		return wire.AppendUp(out[:len(buf)], wire.Done{Number: done.Number, Outcome: wire.Outcome{Fault: clip(err.Error())}})
	}
	return out, nil
}

// Get is part of [Store].
func (c *conn) Get(key string) ([]byte, bool, error) {
	row, err := c.ask(wire.Get{Key: key})
	return row.Value, row.Found, err
}

// Next is part of [Store].
func (c *conn) Next(prefix, after string) (string, []byte, bool, error) {
	row, err := c.ask(wire.Next{After: after, Prefix: prefix})
	return row.Key, row.Value, row.Found, err
}

func (c *conn) ask(f wire.UpFrame) (wire.Row, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.crank {
		return wire.Row{}, errors.New("the store can be read only while a delivery is being done")
	}
	if err := c.write(f); err != nil {
		return wire.Row{}, err
	}
	for {
		answer, err := c.read()
		if err != nil {
			// The vat cannot go on without the row, and its code must not handle the loss of the kernel.
			c.end(err)
		}
		switch f := answer.(type) {
		case wire.Row:
			return f, nil
		case wire.Deliver:
			c.ahead = append(c.ahead, f)
		case wire.Start, wire.Bye:
			c.end(fmt.Errorf("a %T in answer to a read", answer))
		}
	}
}

// read returns the next frame. It does not return if that is Bye, or if the stream has ended.
func (c *conn) read() (wire.DownFrame, error) {
	b, err := c.frames.Read(c.rbuf)
	if err != nil {
		if errors.Is(err, io.EOF) {
			c.end(nil)
		}
		return nil, fmt.Errorf("read frame: %w", err)
	}
	fault.Point(fault.InWorkerFrameRead)
	c.rbuf = keep(b)
	f, err := wire.DecodeDown(b)
	if err != nil {
		return nil, fmt.Errorf("decode frame: %w", err)
	}
	if _, bye := f.(wire.Bye); bye {
		c.end(nil)
	}
	return f, nil
}

func (c *conn) write(f wire.UpFrame) error {
	b, err := wire.AppendUp(c.wbuf[:0], f)
	if err != nil {
		return err
	}
	c.wbuf = b
	return c.flush()
}

func (c *conn) flush() error {
	fault.Point(fault.InWorkerFrameBefore)
	err := c.frames.Write(c.wbuf)
	fault.Point(fault.InWorkerFrameSent)
	c.wbuf = keep(c.wbuf)
	if err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	return nil
}

// keep returns b for reuse, unless a rare big frame made it big.
func keep(b []byte) []byte {
	if cap(b) > 256<<10 {
		return nil
	}
	return b[:0]
}

// end ends the process, from any goroutine.
func (c *conn) end(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "worker: %v\n", err)
		os.Exit(exitFailed)
	}
	os.Exit(exitDone)
}

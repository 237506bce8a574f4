package supervisor

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"ocapkernel.dev/wire"
)

// control is the supervisor's end of the control descriptor of a worker on a descriptor. Over it the supervisor asks the
// worker's process for signs of life.
//
// A ping is a number, which the worker sends back. Pings are made one after the other. If a ping no longer waits for its
// answer, the next ping reads that answer and drops it. A worker cannot make the supervisor's memory grow by it: bytes that are
// no answer end the pings of this worker for good.
type control struct {
	turn chan struct{} // holds one value; the goroutine that has taken it may use the other fields
	file *os.File      // until the first ping, which makes conn of it
	conn net.Conn
	in   *bufio.Reader
	// asked is the number of the last ping, heard the number of the last answer.
	asked, heard uint64
	// over is the error of all further pings; nil while pings are made.
	over error
}

const (
	// pingTime is the longest time that a ping waits for its answer.
	pingTime = time.Second
	// unheard bounds the answers that are due. A ping beyond it sends nothing, and waits for one of those answers: so the
	// socket of a process that stands still always has room.
	unheard = 8
)

var errEnded = errors.New("worker has ended")

func newControl(file *os.File) *control {
	c := &control{file: file, turn: make(chan struct{}, 1)}
	c.turn <- struct{}{}
	return c
}

// Ping is part of being a [workers.Worker].
func (w *worker) Ping(ctx context.Context) error {
	w.mu.Lock()
	early, late, l := w.mu.phase == starting, w.dying(), w.mu.link
	w.mu.Unlock()
	switch {
	case early:
		return fmt.Errorf("ping %s: worker is not ready", w.spec.Start.Vat)
	case late:
		return fmt.Errorf("ping %s: %w", w.spec.Start.Vat, errEnded)
	}
	if err := l.ping(ctx); err != nil {
		return fmt.Errorf("ping %s: %w", w.spec.Start.Vat, err)
	}
	return nil
}

func (c *control) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTime)
	defer cancel()
	select {
	case <-c.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	if c.over != nil {
		return c.over
	}
	err := c.open()
	if err == nil {
		err = c.ask(ctx)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err() // the answer may come still
	case err != nil:
		c.end(err)
	}
	return err
}

// open makes a connection of the descriptor, at the first ping: most workers are never pinged.
func (c *control) open() (err error) {
	if c.file == nil {
		return nil
	}
	c.conn, err = net.FileConn(c.file) // a duplicate
	_ = c.file.Close()
	c.file = nil
	c.in = bufio.NewReaderSize(c.conn, 8*wire.PingBytes)
	return err
}

// ask sends a ping and waits for its answer until ctx ends.
func (c *control) ask(ctx context.Context) error {
	if err := c.conn.SetDeadline(time.Time{}); err != nil {
		return err
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		_ = c.conn.SetDeadline(time.Unix(1, 0)) // fails only if closed
	})
	defer func() {
		if !stop() {
			<-ended // so that it does not end the next ping
		}
	}()
	if c.asked-c.heard < unheard {
		c.asked++
		if _, err := c.conn.Write(binary.BigEndian.AppendUint64(nil, c.asked)); err != nil {
			return err
		}
	}
	for c.heard < c.asked {
		b, err := c.in.Peek(wire.PingBytes)
		if err != nil {
			return err // a part of an answer that has arrived stays in the buffer for the next ask
		}
		_, _ = c.in.Discard(len(b))
		if n := binary.BigEndian.Uint64(b); n != c.heard+1 {
			return fmt.Errorf("the process says %q, which is no answer to a ping (its program may be made for an earlier kernel)", b)
		}
		c.heard++
	}
	return nil
}

// close releases the descriptor, and admits no other ping.
func (c *control) close() {
	<-c.turn // a ping that waits ends within its time
	defer func() { c.turn <- struct{}{} }()
	c.end(errEnded)
}

// end closes the descriptor, and makes why the error of all further pings. The caller has the turn.
func (c *control) end(why error) {
	if c.over == nil {
		c.over = why
	}
	if c.conn != nil {
		_ = c.conn.Close() // nothing is left to be written
	}
	if c.file != nil {
		_ = c.file.Close()
		c.file = nil
	}
}

package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Bounds of the lines that wait to be printed.
const (
	maxCourtesyLines = 1000
	maxCourtesyBytes = 1 << 20
)

// courtesy prints on an output that may block for ever, or that has no reader any more, such as a terminal. A
// write to it never waits and never fails: a goroutine prints the lines, and lines that do not fit its queue
// are dropped. The number of dropped lines is printed in their place as soon as the output takes a line.
type courtesy struct {
	out   io.Writer
	lines chan []byte
	done  chan struct{}

	mu struct {
		sync.Mutex
		closed  bool
		bytes   int
		missing int // lines dropped since the last notice
		total   int // lines dropped ever
	}
}

func newCourtesy(out io.Writer) *courtesy {
	c := &courtesy{out: out, lines: make(chan []byte, maxCourtesyLines), done: make(chan struct{})}
	go c.run()
	return c
}

// Write queues p as one piece, or drops it.
func (c *courtesy) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed || c.mu.bytes+len(p) > maxCourtesyBytes {
		c.count()
		return len(p), nil
	}
	select {
	case c.lines <- append([]byte(nil), p...):
		c.mu.bytes += len(p)
	default:
		c.count()
	}
	return len(p), nil
}

// count counts a dropped line. The caller holds mu.
func (c *courtesy) count() {
	c.mu.missing++
	c.mu.total++
}

func (c *courtesy) run() {
	defer close(c.done)
	for line := range c.lines {
		c.notice(len(line))
		// An error cannot be reported, here or in notice: this is the output for errors.
		_, _ = c.out.Write(line)
	}
	c.notice(0)
}

// notice prints how many lines are missing, if any are, before a line of that many bytes.
func (c *courtesy) notice(bytes int) {
	c.mu.Lock()
	c.mu.bytes -= bytes
	n := c.mu.missing
	c.mu.missing = 0
	c.mu.Unlock()
	if n > 0 {
		_, _ = fmt.Fprintf(c.out, "kernel: %d lines are missing here, because nobody read them in time; kernel logs has them\n", n)
	}
}

// dropped returns how many lines were dropped so far.
func (c *courtesy) dropped() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.total
}

// close takes no more lines and waits until the rest is printed, at most that long.
func (c *courtesy) close(wait time.Duration) {
	c.mu.Lock()
	if !c.mu.closed {
		c.mu.closed = true
		close(c.lines)
	}
	c.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-c.done:
	case <-timer.C: // an output without a reader is left behind
	}
}

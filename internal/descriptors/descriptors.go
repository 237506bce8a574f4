// Package descriptors keeps some of a process's file descriptors back, so that the process can go on. It
// refuses them to the users that can take many: first to the clients of channels, then to workers, then to the
// clients of the control socket.
//
// # Concurrency
//
// Methods may be called from any goroutine.
package descriptors

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// User is a user of descriptors. The values are ordered: a later user may take descriptors that are kept back
// from the earlier ones.
type User int

// The users of descriptors.
const (
	// Channels are the connections of IO channels.
	Channels User = iota
	// Workers are the worker processes, with a few descriptors each.
	Workers
	// Control is the control socket, over which an operator would find out about the lack.
	Control
)

// Budget counts the descriptors of this process.
type Budget struct {
	limit int
	mu    struct {
		sync.Mutex
		open    int // as counted last, plus the descriptors allowed since
		counted time.Time
	}
}

// New returns the budget of this process, whose limit the Go runtime has raised as far as it may.
func New() *Budget {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > 1<<30 {
		limit.Cur = 1 << 30
	}
	return &Budget{limit: int(limit.Cur)}
}

// keeps returns how many descriptors a user leaves to the others.
func (b *Budget) keeps(u User) int {
	switch u {
	case Channels:
		return min(b.limit/3, 512)
	case Workers:
		return min(b.limit/6, 128)
	default:
		return min(b.limit/12, 64)
	}
}

// countedFor is how long a count of the open descriptors is used.
const countedFor = 50 * time.Millisecond

// Allows reports whether a user may take n more descriptors.
func (b *Budget) Allows(u User, n int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if time.Since(b.mu.counted) > countedFor {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return !isShort(err) // without /proc nothing can be kept back
		}
		b.mu.open, b.mu.counted = len(open), time.Now()
	}
	if b.mu.open+n+b.keeps(u) > b.limit {
		return false
	}
	b.mu.open += n
	return true
}

// Probe returns an error if this process cannot open n files now.
func (b *Budget) Probe(n int) error {
	for range n {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if isShort(err) {
			return fmt.Errorf("no file can be opened (limit of this process: %d): %w", b.limit, err)
		}
		if err == nil {
			defer func() { _ = unix.Close(fd) }() // nothing was written
		}
	}
	return nil
}

// isShort reports whether the process, or the system, has no descriptors left.
func isShort(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

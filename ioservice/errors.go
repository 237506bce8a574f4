package ioservice

import (
	"errors"
	"fmt"
)

// What callers branch on, with errors.Is. The errors themselves say more: which channel, and what to do.
var (
	// ErrDirection: the channel is read-only and was to be written, or the other way round.
	ErrDirection = errors.New("wrong direction")
	// ErrUse: the channel is not used in this way: it accepts no connections, or it does nothing else.
	ErrUse = errors.New("wrong use")
	// ErrConnectionLost: the other end is gone. What was written last may not have reached it.
	ErrConnectionLost = errors.New("connection lost")
	// ErrNoPeer: there is no other end: no client is connected, or the connection could not be made.
	ErrNoPeer = errors.New("nobody is connected")
	// ErrClosed: the stream was closed here.
	ErrClosed = errors.New("closed")
	// ErrCanceled: the read or the accept was withdrawn.
	ErrCanceled = errors.New("canceled")
	// ErrTooLong: a line was longer than a unit may be. The next read gives the next line.
	ErrTooLong = errors.New("unit too long")
	// ErrInvalidText: what came is not UTF-8, or what was to be written is not a unit of the channel. A read
	// that follows goes on behind it.
	ErrInvalidText = errors.New("invalid text")
	// ErrTimeout: the other end did not take what was written in time.
	ErrTimeout = errors.New("timeout")
	// ErrLimit: too many calls wait, or too many bytes.
	ErrLimit = errors.New("limit reached")
)

// A failure is an error that says all it has to say in its own text and is of a kind that callers branch on.
type failure struct {
	kind error
	text string
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.kind }

// fail returns an error of the kind about the channel. The format follows its name.
func (c Config) fail(kind error, format string, args ...any) error {
	return &failure{kind, "channel " + c.Name + fmt.Sprintf(format, args...)}
}

func (c Config) lost() error {
	return c.fail(ErrConnectionLost, ": the other end is gone")
}

package ioservice

import (
	"errors"
	"fmt"
)

// The kinds of errors that callers branch on, with errors.Is. The errors themselves name the channel, and the
// way to mend the fault.
var (
	// ErrDirection: the channel is read-only and was to be written, or the other way round.
	ErrDirection = errors.New("wrong direction")
	// ErrUse: the channel is not used in this way: it accepts no connections, or it only accepts them.
	ErrUse = errors.New("wrong use")
	// ErrConnectionLost: the other end is gone. The last writes may not have reached it.
	ErrConnectionLost = errors.New("connection lost")
	// ErrNoPeer: there is no other end: no client is connected, or the connection could not be made.
	ErrNoPeer = errors.New("nobody is connected")
	// ErrClosed: the stream was closed here.
	ErrClosed = errors.New("closed")
	// ErrCanceled: the read or the accept was withdrawn.
	ErrCanceled = errors.New("canceled")
	// ErrTooLong: a line was longer than a unit may be. The next read gives the next line.
	ErrTooLong = errors.New("unit too long")
	// ErrInvalidText: the bytes that came are not UTF-8, or the data to be written is no unit of the channel.
	// The next read goes on behind those bytes.
	ErrInvalidText = errors.New("invalid text")
	// ErrTimeout: the other end did not take the data in time.
	ErrTimeout = errors.New("timeout")
	// ErrLimit: too many calls wait, or too many bytes.
	ErrLimit = errors.New("limit reached")
)

// A failure is an error with a text of its own and of a kind that callers branch on.
type failure struct {
	kind error
	text string
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.kind }

// fail returns an error of the kind about the channel. The format follows the channel's name.
func (c Config) fail(kind error, format string, args ...any) error {
	return &failure{kind, "channel " + c.Name + fmt.Sprintf(format, args...)}
}

func (c Config) lost() error {
	return c.fail(ErrConnectionLost, ": the other end is gone")
}

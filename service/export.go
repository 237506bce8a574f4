package service

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"ocapkernel.dev/errcode"
)

// underWay is a call of a method, from its beginning to its end.
type underWay struct {
	call Call
	// mark tells this call's exports from those of other calls.
	mark string

	mu struct {
		sync.Mutex
		over    bool
		exports []Export
	}
}

type underWayKey struct{}

func callOf(ctx context.Context) *underWay {
	u, _ := ctx.Value(underWayKey{}).(*underWay)
	return u
}

// Caller returns the call to which ctx belongs: its vat, its time, and whether it was begun before. ok is false
// outside of a method that [New] made callable. MethArgs is empty.
func Caller(ctx context.Context) (c Call, ok bool) {
	u := callOf(ctx)
	if u == nil {
		return Call{}, false
	}
	c = u.call
	c.MethArgs = Data{}
	return c, true
}

// ExportObject makes a service object of v, which is an [Object] or a value as for [New], and returns the
// reference to it, for the result of the call to which ctx belongs and for no other. An object to which the
// result does not refer in the end is not exported. Each export is an object of its own, also of the same
// value.
//
// It fails outside of a method that New made callable, after the method has returned, beyond [MaxExports], and
// as New does. With [Restorable] the object can survive the kernel.
func ExportObject(ctx context.Context, v any, opts ...Option) (Ref, error) {
	u := callOf(ctx)
	if u == nil {
		return Ref{}, errors.New("export: this context belongs to no call of a service; pass on the one that the method was given")
	}
	o, x, err := makeObject(v, opts)
	if err != nil {
		return Ref{}, fmt.Errorf("export: %w", err)
	}
	x.Object = o
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case u.mu.over:
		return Ref{}, errors.New("export: the call has ended")
	case len(u.mu.exports) == MaxExports:
		return Ref{}, &Error{errcode.Limit, fmt.Sprintf("export: more than the limit of %d objects in one call", MaxExports)}
	}
	if u.mark == "" {
		u.mark = rand.Text()
	}
	u.mu.exports = append(u.mu.exports, x)
	return Ref{name: newPrefix + strconv.Itoa(len(u.mu.exports)-1), mark: u.mark}, nil
}

// end notes that the method has returned.
func (u *underWay) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.mu.over = true
}

// exported returns an object that the call exported.
func (u *underWay) exported(number string) (Export, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	i, err := strconv.Atoi(number)
	if err != nil || i < 0 || i >= len(u.mu.exports) {
		return Export{}, errors.New("the call exported no such object")
	}
	return u.mu.exports[i], nil
}

// passed reports whether the caller passed a reference of this name.
func (u *underWay) passed(name string) bool {
	return u != nil && slices.Contains(u.call.MethArgs.Slots, name)
}

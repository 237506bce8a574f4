package service

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"

	"ocapkernel.dev/internal/limits"
)

// Random returns the service "random": numbers from the operating system that cannot be guessed. A vat cannot
// make them itself, because a replay has to repeat its behaviour.
func Random() Object {
	return builtIn("random", random{}, IdempotentMethods("bytes", "hex", "integer"))
}

// allowed sets a function that reports, before each call, whether the process can spare the descriptors of the
// call; nil allows every call.
func allowed(allow func() bool) Option { return func(o *options) { o.allow = allow } }

// builtIn makes the object of a service of this package, whose methods are known to be right.
func builtIn(name string, v any, opts ...Option) *adapter {
	o := options{name: name}
	for _, set := range opts {
		set(&o)
	}
	a, err := newAdapter(v, o)
	if err != nil {
		panic("service: " + name + ": " + err.Error())
	}
	return a
}

type random struct{}

const (
	maxRandomBytes = limits.RandomBytes
	maxRandomRange = 1 << 53 // the whole numbers that JavaScript's numbers hold
)

// Bytes returns n random bytes.
func (random) Bytes(n int) ([]byte, error) {
	if n < 1 || n > maxRandomBytes {
		return nil, fmt.Errorf("%d bytes: want 1 to %d", n, maxRandomBytes)
	}
	b := make([]byte, n)
	_, err := rand.Read(b)
	return b, err
}

// Hex returns n random bytes as 2n digits.
func (r random) Hex(n int) (string, error) {
	b, err := r.Bytes(n)
	return hex.EncodeToString(b), err
}

// Integer returns a whole number from 0 to limit-1, each as likely as the others.
func (random) Integer(limit int64) (int64, error) {
	if limit < 1 || limit > maxRandomRange {
		return 0, fmt.Errorf("the limit is %d, want 1 to 2^53: the number is from 0 to one below it", limit)
	}
	n, err := rand.Int(rand.Reader, big.NewInt(limit))
	if err != nil {
		return 0, err
	}
	return n.Int64(), nil
}

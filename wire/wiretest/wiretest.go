// Package wiretest passes frames as two processes would: encoded, validated and decoded.
//
// A test that hands a value from a kernel to a vat in memory, or back, can hand over more than the wire can
// carry: a row that is absent and has a value, a nil list, a buffer that both ends share. [Down] and [Up]
// return the value that the other process would get, or an error if it would get none.
package wiretest

import (
	"bytes"
	"fmt"

	"ocapkernel.dev/wire"
)

// Down returns the frame f as the worker gets it.
func Down[F wire.DownFrame](f F) (F, error) {
	got, _, err := cross(f, func(b []byte, f F) ([]byte, error) { return wire.AppendDown(b, f) }, wire.DecodeDown)
	return got, err
}

// Up returns the frame f as the kernel gets it from a worker within lim, and its bytes without their header.
func Up[F wire.UpFrame](f F, lim wire.Limits) (got F, frame []byte, err error) {
	return cross(f, func(b []byte, f F) ([]byte, error) { return wire.AppendUp(b, f) },
		func(frame []byte) (wire.UpFrame, error) { return wire.DecodeUp(frame, lim) })
}

// cross encodes and decodes a frame. The decoded value must encode to the same bytes: two values that differ
// for the sender and not on the wire would make a replay differ from its record.
func cross[F any, D any](f F, encode func([]byte, F) ([]byte, error), decode func([]byte) (D, error)) (got F, frame []byte, err error) {
	b, err := encode(nil, f)
	if err != nil {
		return got, nil, fmt.Errorf("encode %T: %w", f, err)
	}
	frame = b[wire.HeaderBytes:]
	d, err := decode(frame)
	if err != nil {
		return got, nil, fmt.Errorf("decode %T: %w", f, err)
	}
	got, ok := any(d).(F)
	if !ok {
		return got, nil, fmt.Errorf("a %T arrives as a %T", f, d)
	}
	again, err := encode(nil, got)
	if err != nil {
		return got, nil, fmt.Errorf("encode %T again: %w", f, err)
	}
	if !bytes.Equal(again, b) {
		return got, nil, fmt.Errorf("a %T has other bytes after it was decoded", f)
	}
	return got, frame, nil
}

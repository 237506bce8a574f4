package capdata

import (
	"errors"
	"fmt"
	"unicode/utf8"
	"unsafe"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"
)

// MaxRefBytes bounds a reference in an envelope, whatever the limits.
const MaxRefBytes = 64

// DataLimits bound one envelope. They are checked before memory is taken.
type DataLimits struct {
	MaxBodyBytes int
	MaxSlots     int
}

// EncodeData writes d as an array of its body and the array of its slots.
func EncodeData[R ~string](enc *msgpack.Encoder, d Data[R]) error {
	if err := enc.EncodeArrayLen(2); err != nil {
		return err
	}
	if err := enc.EncodeString(d.Body); err != nil {
		return err
	}
	if err := enc.EncodeArrayLen(len(d.Slots)); err != nil {
		return err
	}
	for _, r := range d.Slots {
		if err := enc.EncodeString(string(r)); err != nil {
			return err
		}
	}
	return nil
}

// DecodeData reads what [EncodeData] wrote. It checks the envelope only: lengths, that all is UTF-8, and
// that the body begins with '#' (the zero Data, no body and no slots, passes too). What the references
// say is for the caller to check, and what the body says for [Decode].
func DecodeData[R ~string](dec *msgpack.Decoder, limits DataLimits) (Data[R], error) {
	d, err := decodeData[R](dec, limits)
	if err != nil {
		return Data[R]{}, fmt.Errorf("read capdata: %w", err)
	}
	return d, nil
}

func decodeData[R ~string](dec *msgpack.Decoder, limits DataLimits) (d Data[R], err error) {
	n, err := dec.DecodeArrayLen()
	if err != nil {
		return d, err
	}
	if n != 2 {
		return d, fmt.Errorf("array of %d elements, want 2", n)
	}
	if d.Body, err = readString(dec, limits.MaxBodyBytes); err != nil {
		return d, fmt.Errorf("body: %w", err)
	}
	slots, err := dec.DecodeArrayLen()
	if err != nil {
		return d, fmt.Errorf("slots: %w", err)
	}
	switch {
	case slots < 0:
		return d, errors.New("slots: nil, want an array")
	case slots > limits.MaxSlots:
		return d, fmt.Errorf("%d slots, above the limit of %d", slots, limits.MaxSlots)
	case d.Body == "" && slots > 0:
		return d, errors.New("slots without a body")
	case d.Body != "" && d.Body[0] != '#':
		return d, errors.New("body does not begin with '#'")
	case slots == 0:
		return d, nil
	}
	d.Slots = make([]R, slots)
	for i := range d.Slots {
		s, err := readString(dec, MaxRefBytes)
		if err != nil {
			return d, fmt.Errorf("slot %d: %w", i, err)
		}
		d.Slots[i] = R(s)
	}
	return d, nil
}

// readString reads a str. The library's own DecodeString takes nil and binary for strings, reads any
// length, and lets bad UTF-8 pass.
func readString(dec *msgpack.Decoder, maxBytes int) (string, error) {
	c, err := dec.PeekCode()
	if err != nil {
		return "", err
	}
	if !msgpcode.IsFixedString(c) && c != msgpcode.Str8 && c != msgpcode.Str16 && c != msgpcode.Str32 {
		return "", fmt.Errorf("code 0x%02x, want a string", c)
	}
	n, err := dec.DecodeBytesLen()
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", nil
	}
	if n < 0 || n > maxBytes {
		return "", fmt.Errorf("%d bytes, above the limit of %d", n, maxBytes)
	}
	b := make([]byte, n)
	if err := dec.ReadFull(b); err != nil {
		return "", err
	}
	if !utf8.Valid(b) {
		return "", errors.New("not UTF-8")
	}
	// b is not touched any more, so it may be the string, without another copy: this runs for every
	// message that crosses the boundary.
	return unsafe.String(&b[0], n), nil
}

package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// deepest is the greatest depth that a caller of Validate may allow.
const deepest = 32

// Validate checks that frame (without its header) is one msgpack array and nothing else, made only of arrays,
// UTF-8 strings, byte strings, integers, booleans and nil, nested at most maxDepth deep (and never more than
// 32), each in its shortest encoding. No claimed length exceeds the bytes that are there.
//
// Validate runs before any decoding, in one pass, without recursion and without allocating: the msgpack library
// turns a claimed length into memory before it looks for the bytes.
func Validate(frame []byte, maxDepth int) error {
	var open [deepest]int // how many items each open array still wants
	maxDepth = min(maxDepth, deepest)
	depth := 0
	if len(frame) == 0 {
		return errors.New("empty frame")
	}
	if c := frame[0]; c&0xf0 != 0x90 && c != 0xdc && c != 0xdd {
		return fmt.Errorf("a frame is an array, this begins with %#02x", c)
	}
	for i := 0; i < len(frame); {
		h, err := readHead(frame[i:])
		if err != nil {
			return fmt.Errorf("at byte %d: %w", i, err)
		}
		i += h.size
		rest := len(frame) - i
		if h.length > uint64(rest) {
			return fmt.Errorf("at byte %d: length %d where %d bytes remain", i-h.size, h.length, rest)
		}
		if depth > 0 {
			open[depth-1]--
		}
		switch h.class {
		case classArray:
			if depth == maxDepth {
				return fmt.Errorf("at byte %d: nested more than %d deep: %w", i-h.size, maxDepth, ErrLimit)
			}
			open[depth] = int(h.length)
			depth++
		case classString:
			if !utf8.Valid(frame[i : i+int(h.length)]) {
				return fmt.Errorf("at byte %d: string is not UTF-8", i-h.size)
			}
			i += int(h.length)
		case classBytes:
			i += int(h.length)
		case classScalar:
		}
		for depth > 0 && open[depth-1] == 0 {
			depth--
		}
		if depth == 0 {
			if i != len(frame) {
				return fmt.Errorf("%d bytes after the end", len(frame)-i)
			}
			return nil
		}
	}
	return errors.New("frame is cut off")
}

type class uint8

const (
	classScalar class = iota
	classString
	classBytes
	classArray
)

// head is the start of one item: size bytes, which announce length items or bytes.
type head struct {
	class  class
	size   int
	length uint64
}

var errNotShortest = errors.New("not the shortest encoding")

func readHead(b []byte) (head, error) {
	c := b[0]
	switch {
	case c <= 0x7f, c >= 0xe0, c == 0xc0, c == 0xc2, c == 0xc3:
		return head{class: classScalar, size: 1}, nil
	case c&0xf0 == 0x90:
		return head{class: classArray, size: 1, length: uint64(c & 0x0f)}, nil
	case c&0xe0 == 0xa0:
		return head{class: classString, size: 1, length: uint64(c & 0x1f)}, nil
	}
	var h head
	var width int    // width of the number after the code, in bytes
	var least uint64 // the number must not be below this, or a shorter code would do
	switch c {
	case 0xc4:
		h.class, width = classBytes, 1
	case 0xc5:
		h.class, width, least = classBytes, 2, 1<<8
	case 0xc6:
		h.class, width, least = classBytes, 4, 1<<16
	case 0xd9:
		h.class, width, least = classString, 1, 32
	case 0xda:
		h.class, width, least = classString, 2, 1<<8
	case 0xdb:
		h.class, width, least = classString, 4, 1<<16
	case 0xdc:
		h.class, width, least = classArray, 2, 16
	case 0xdd:
		h.class, width, least = classArray, 4, 1<<16
	case 0xcc:
		width, least = 1, 1<<7
	case 0xcd:
		width, least = 2, 1<<8
	case 0xce:
		width, least = 4, 1<<16
	case 0xcf:
		width, least = 8, 1<<32
	case 0xd0, 0xd1, 0xd2, 0xd3:
		width = 1 << (c - 0xd0)
	default:
		return h, fmt.Errorf("code %#02x has no place in a frame", c)
	}
	h.size = 1 + width
	if len(b) < h.size {
		return h, errors.New("frame is cut off")
	}
	var v uint64
	switch width {
	case 1:
		v = uint64(b[1])
	case 2:
		v = uint64(binary.BigEndian.Uint16(b[1:]))
	case 4:
		v = uint64(binary.BigEndian.Uint32(b[1:]))
	case 8:
		v = binary.BigEndian.Uint64(b[1:])
	}
	if c >= 0xd0 && c <= 0xd3 {
		// A signed code is only for negative numbers that the next shorter code cannot hold.
		shift := 64 - 8*width
		n := int64(v<<shift) >> shift
		if n >= [...]int64{-32, -1 << 7, -1 << 15, -1 << 31}[c-0xd0] {
			return h, errNotShortest
		}
		return h, nil
	}
	if v < least {
		return h, errNotShortest
	}
	if h.class != classScalar {
		h.length = v
	}
	return h, nil
}

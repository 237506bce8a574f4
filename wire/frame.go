package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"ocapkernel.dev/internal/limits"
)

// A frame is a uint32, little endian, that counts the bytes after it, and then one msgpack array: the
// kind of the frame and its fields, in the order of docs/protocol.md. There is exactly one encoding of
// each value, so two frames say the same if, and only if, their bytes are the same.

// HeaderBytes is the length of the count before the array.
const HeaderBytes = 4

// ErrLimit is wrapped by errors of [ReadFrame], [DecodeUp] and [DecodeDown] that are about a limit exceeded.
// All their other errors are about malformed bytes, or come from the reader.
var ErrLimit = errors.New("over the limit")

// Limits bound the content of a frame. A field that is zero means the default named beside it.
type Limits struct {
	// FrameBytes bounds the frame without its header: 4 MiB.
	FrameBytes int
	// Syscalls bounds the syscalls of a Done: 10,000.
	Syscalls int
	// Depth bounds the nesting of arrays: 16.
	Depth int
	// Slots bounds the references in one value: 4,096.
	Slots int
	// List bounds every other list, such as the resolutions of one Resolve: 65,536.
	List int
}

// DefaultFrameBytes is the limit of a frame for which no other limit is configured.
const DefaultFrameBytes = limits.FrameBytes

// Bounds of single fields, kept by both ends.
const (
	// MaxRefBytes bounds a reference. The codec checks only the length; see [ParseRef].
	MaxRefBytes = 48
	// MaxKeyBytes bounds a key of the vat's store.
	MaxKeyBytes = limits.KeyBytes
	// MaxKnown bounds the references in one [BringOutYourDead].
	MaxKnown = limits.Known
	// MaxTextBytes bounds a text from the worker that is for people, such as Hello.Error.
	MaxTextBytes = 4096
)

// downLimits returns the bounds of frames from the kernel: a worker trusts the kernel, but not with all of its
// memory.
func downLimits() Limits { return Limits{FrameBytes: 64 << 20, Slots: 1 << 20, List: 1 << 20}.full() }

// MaxDownFrameBytes is the limit of a frame from the kernel.
const MaxDownFrameBytes = 64 << 20

func (l Limits) full() Limits {
	or := func(field *int, value int) {
		if *field <= 0 {
			*field = value
		}
	}
	or(&l.FrameBytes, DefaultFrameBytes)
	or(&l.Syscalls, limits.Syscalls)
	or(&l.Depth, limits.FrameDepth)
	or(&l.Slots, 4_096)
	or(&l.List, 65_536)
	return l
}

// ReadFrame reads one frame and returns it without its header, in buf if that is large enough. A frame
// longer than limit is refused before any of it is read. At the end of the stream the error is io.EOF if
// the frame before was complete, else io.ErrUnexpectedEOF.
//
// Memory is taken as bytes arrive: a peer that announces much and sends little costs little.
func ReadFrame(r io.Reader, buf []byte, limit int) ([]byte, error) {
	buf = slices.Grow(buf[:0], HeaderBytes)[:HeaderBytes]
	if _, err := io.ReadFull(r, buf); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(buf)
	if size == 0 {
		return nil, errors.New("empty frame")
	}
	if uint64(size) > uint64(max(limit, 0)) {
		return nil, fmt.Errorf("frame of %d bytes, %w of %d", size, ErrLimit, limit)
	}
	buf = buf[:0]
	for n := int(size); len(buf) < n; {
		have := len(buf)
		step := min(n-have, max(have, 64<<10))
		buf = slices.Grow(buf, step)[:have+step]
		if _, err := io.ReadFull(r, buf[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return buf, nil
}

// The kinds of frames. A kind of one direction is no kind of the other, so that a frame sent back is malformed.
const (
	kindStart   = 1
	kindDeliver = 2
	kindRow     = 3
	kindBye     = 4

	kindHello = 17
	kindDone  = 18
	kindGet   = 19
	kindNext  = 20
)

// The kinds of deliveries.
const (
	kindStartVat         = 1
	kindCall             = 2
	kindNotify           = 3
	kindDropExports      = 4
	kindRetireExports    = 5
	kindRetireImports    = 6
	kindBringOutYourDead = 7
)

// The kinds of syscalls.
const (
	kindSend              = 1
	kindSubscribe         = 2
	kindResolve           = 3
	kindExit              = 4
	kindDropImports       = 5
	kindRetireImportsCall = 6
	kindRetireExportsCall = 7
	kindAbandonExports    = 8
	kindStoreSet          = 9
	kindStoreDelete       = 10
	kindKeep              = 11
	kindWatch             = 12
	kindCollect           = 13
)

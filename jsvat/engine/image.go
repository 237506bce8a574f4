package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// An image is a page with a header, and then the memory.
//
//	 0  magic                     40  size of the memory, 8 bytes
//	 8  hash of engine, 32 bytes  48  stack pointer, runtime, context, 4 bytes each
//	60  fuel, spent, clock, dice, 8 bytes each
//	92  checksum of the header
const (
	imageMagic  = "OCKJSIM1"
	imageHeader = 4096
	headerUsed  = 96
	wasmPage    = 64 << 10
)

// ErrImage says that a file or bytes are no whole image of this build of the engine.
var ErrImage = errors.New("not an image of this engine")

// ID names the build of the engine: images of one are refused by all others. It is a SHA-256 sum in hex, "" where the engine is not built.
func ID() string {
	if moduleID == "" {
		return ""
	}
	return fmt.Sprintf("%x", engineHash())
}

// engineHash covers what an image depends on: the module, and the function that New defines in each heap.
func engineHash() [sha256.Size]byte {
	return sha256.Sum256([]byte(imageMagic + moduleID + hardenSource))
}

// words are what an image has besides the memory.
type words struct {
	size                    uint64
	stack, runtime, context int32
	state                   state
}

func (w words) encode() []byte {
	le := binary.LittleEndian
	hash := engineHash()
	b := append([]byte(imageMagic), hash[:]...)
	b = le.AppendUint64(b, w.size)
	for _, x := range []int32{w.stack, w.runtime, w.context} {
		b = le.AppendUint32(b, uint32(x))
	}
	for _, x := range []uint64{w.state.fuel, w.state.spent, uint64(w.state.now), w.state.dice} {
		b = le.AppendUint64(b, x)
	}
	b = le.AppendUint32(b, crc32.ChecksumIEEE(b))
	return append(b, make([]byte, imageHeader-len(b))...)
}

func decode(b []byte) (w words, err error) {
	le := binary.LittleEndian
	switch hash := engineHash(); {
	case len(b) < headerUsed || string(b[:8]) != imageMagic:
		return w, fmt.Errorf("%w: it does not begin like one", ErrImage)
	case !bytes.Equal(b[8:40], hash[:]):
		return w, fmt.Errorf("%w: another build wrote it", ErrImage)
	case crc32.ChecksumIEEE(b[:headerUsed-4]) != le.Uint32(b[headerUsed-4:]):
		return w, fmt.Errorf("%w: its header is damaged", ErrImage)
	}
	at := func(i int) uint64 { return le.Uint64(b[60+8*i:]) }
	w = words{
		size:  le.Uint64(b[40:]),
		stack: int32(le.Uint32(b[48:])), runtime: int32(le.Uint32(b[52:])), context: int32(le.Uint32(b[56:])),
		state: state{fuel: at(0), spent: at(1), now: int64(at(2)), dice: at(3)},
	}
	if w.size == 0 || w.size > maxMemory || w.size%wasmPage != 0 {
		return w, fmt.Errorf("%w: a memory of %d bytes", ErrImage, w.size)
	}
	return w, nil
}

// WriteImage writes the VM: its memory and the grant. The same VM always writes the same bytes.
//
// Objects move between lists when cycles are collected. If images are compared page by page, [VM.Collect] twice before the first one
// lets the later ones differ from it in fewer pages.
func (v *VM) WriteImage(w io.Writer) error {
	return v.run(func() error {
		header := words{
			size:  uint64(len(v.bytes())),
			stack: v.stackPointer(), runtime: v.Xqjs_get_runtime_ptr(), context: v.Xqjs_get_context_ptr(),
			state: v.state,
		}.encode()
		for _, b := range [][]byte{header, v.bytes()} {
			if _, err := w.Write(b); err != nil {
				return fmt.Errorf("write image: %w", err)
			}
		}
		return nil
	})
}

// Restore makes a VM of the bytes of an image. It goes on as the VM that wrote it; the limit of memory is that of o. The caller closes it.
//
// An image that is too short, or of another build, is an [ErrImage]. Only the header has a checksum: who stores an image sees to the rest. A
// VM of an altered image may answer anything, break, or use all its fuel, and keeps within its memory; its stack may outgrow what Go
// allows, which ends the process.
func Restore(image []byte, o Options) (*VM, error) { return restore(image, o, newModule) }

func restore(image []byte, o Options, newModule func(environment, wasi) (module, error)) (*VM, error) {
	w, err := decode(image)
	if err != nil {
		return nil, err
	}
	if have := uint64(len(image)); have != imageHeader+w.size {
		return nil, fmt.Errorf("%w: %d bytes, its header says %d", ErrImage, have, imageHeader+w.size)
	}
	return resume(w, o, newModule, func(r reservation) error {
		copy(r, image[imageHeader:])
		return nil
	})
}

// RestoreFile is Restore of an image that begins in f at offset, a multiple of 4,096. The memory is mapped copy-on-write: it is read as it is used, and
// pages that the VM does not write are shared with all that map the file. Nobody may change the file until the VM is closed (a memfd can be sealed); the caller
// may close f at once.
func RestoreFile(f *os.File, offset int64, o Options) (*VM, error) {
	header := make([]byte, headerUsed)
	if _, err := f.ReadAt(header, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read image: %w", err)
	}
	w, err := decode(header)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read image: %w", err)
	}
	begin := offset + imageHeader
	if end := begin + int64(w.size); info.Size() < end {
		return nil, fmt.Errorf("%w: the file has %d bytes, the image ends at %d", ErrImage, info.Size(), end)
	}
	return resume(w, o, newModule, func(r reservation) error {
		if begin%int64(os.Getpagesize()) == 0 {
			return r.mapFile(f, begin, int(w.size))
		}
		_, err := f.ReadAt(r[:w.size], begin)
		return err
	})
}

// resume makes a VM whose memory fill has put at the start of the reservation.
func resume(w words, o Options, newModule func(environment, wasi) (module, error), fill func(reservation) error) (*VM, error) {
	v, err := prepare(o, newModule)
	if err != nil {
		return nil, err
	}
	if err := fill(v.reserved); err != nil {
		_ = v.Close() // the first error is the one to tell
		return nil, fmt.Errorf("read image: %w", err)
	}
	v.adopt(v.reserved[:w.size])
	v.state = w.state
	err = v.run(func() error {
		v.setStackPointer(w.stack)
		v.Xqjs_set_runtime_and_context(w.runtime, w.context)
		v.limit()
		return nil
	})
	if err != nil {
		_ = v.Close()
		return nil, err
	}
	return v, nil
}

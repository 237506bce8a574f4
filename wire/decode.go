package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

// DecodeDown decodes a frame (without its header) from the kernel. The result shares no memory with frame. An
// error is about the bytes; a worker that meets one cannot go on.
func DecodeDown(frame []byte) (DownFrame, error) {
	return decodeFrame(frame, downLimits(), func(r *reader, kind, fields int) DownFrame {
		switch kind {
		case kindStart:
			r.want("start", fields, 11)
			return Start{
				Vat: r.str("vat"), Name: r.str("name"), Module: r.str("module"), Parameters: r.str("parameters"),
				Incarnation: r.uint("incarnation"), HighObject: r.uint("high object"), HighPromise: r.uint("high promise"),
				Replays:       r.uint("replays"),
				MaxFrameBytes: r.count("max frame bytes"), MaxSyscalls: r.count("max syscalls"),
			}
		case kindDeliver:
			r.want("deliver", fields, 7)
			f := Deliver{Number: r.uint("number"), Now: r.int("now"), Seed: r.uint("seed"), Attempt: r.uint("attempt")}
			f.State = list(r, "state", r.lim.List, func() Row {
				r.array("row", 2)
				return r.row()
			})
			f.Delivery = r.delivery()
			return f
		case kindRow:
			r.want("row", fields, 3)
			return r.row()
		case kindBye:
			r.want("bye", fields, 1)
			return Bye{}
		}
		r.fail("frame kind %d is not one that goes down", kind)
		return nil
	})
}

// DecodeUp decodes a frame (without its header) from a worker, within lim. The result shares no memory with
// frame. References are bounded in length, but not parsed. An error that wraps [ErrLimit] is about a limit; any
// other error means that the frame is malformed.
func DecodeUp(frame []byte, lim Limits) (UpFrame, error) {
	return decodeFrame(frame, lim.full(), func(r *reader, kind, fields int) UpFrame {
		switch kind {
		case kindHello:
			r.want("hello", fields, 2)
			return Hello{Error: r.text("error", MaxTextBytes)}
		case kindDone:
			r.want("done", fields, 4)
			f := Done{Number: r.uint("number")}
			f.Syscalls = list(r, "syscalls", r.lim.Syscalls, r.syscall)
			r.array("outcome", 2)
			f.Outcome = Outcome{Parked: r.count("parked"), Fault: r.text("fault", MaxTextBytes)}
			return f
		case kindGet:
			r.want("get", fields, 2)
			return Get{Key: r.text("key", MaxKeyBytes)}
		case kindNext:
			r.want("next", fields, 3)
			return Next{After: r.text("after", MaxKeyBytes), Prefix: r.text("prefix", MaxKeyBytes)}
		}
		r.fail("frame kind %d is not one that goes up", kind)
		return nil
	})
}

func (r *reader) delivery() Delivery {
	kind, fields := r.item("delivery")
	switch kind {
	case kindStartVat:
		r.want("start vat", fields, 1)
		return StartVat{}
	case kindCall:
		r.want("call", fields, 4)
		return Call{Target: r.ref("target"), Message: r.message()}
	case kindNotify:
		r.want("notify", fields, 2)
		return Notify{Resolutions: r.resolutions()}
	case kindDropExports:
		return DropExports{Refs: r.refs("drop exports", fields)}
	case kindRetireExports:
		return RetireExports{Refs: r.refs("retire exports", fields)}
	case kindRetireImports:
		return RetireImports{Refs: r.refs("retire imports", fields)}
	case kindBringOutYourDead:
		if fields == 1 {
			return BringOutYourDead{Bare: true}
		}
		r.want("bring out your dead", fields, 3)
		known := list(r, "known", MaxKnown, func() Ref { return r.ref("known") })
		return BringOutYourDead{Known: known, More: r.bool("more")}
	}
	r.fail("unknown delivery kind %d", kind)
	return nil
}

func (r *reader) syscall() Syscall {
	kind, fields := r.item("syscall")
	switch kind {
	case kindSend:
		r.want("send", fields, 4)
		return Send{Target: r.ref("target"), Message: r.message()}
	case kindSubscribe:
		r.want("subscribe", fields, 3)
		return Subscribe{Promise: r.ref("promise"), Stored: r.bool("stored")}
	case kindResolve:
		r.want("resolve", fields, 2)
		return Resolve{Resolutions: r.resolutions()}
	case kindExit:
		r.want("exit", fields, 3)
		return Exit{Failure: r.bool("failure"), Info: r.capData()}
	case kindDropImports:
		return DropImports{Refs: r.refs("drop imports", fields)}
	case kindRetireImportsCall:
		return RetireImportsCall{Refs: r.refs("retire imports", fields)}
	case kindRetireExportsCall:
		return RetireExportsCall{Refs: r.refs("retire exports", fields)}
	case kindAbandonExports:
		return AbandonExports{Refs: r.refs("abandon exports", fields)}
	case kindStoreSet:
		r.want("store set", fields, 3)
		return StoreSet{Key: r.text("key", MaxKeyBytes), Value: r.bytes("value")}
	case kindStoreDelete:
		r.want("store delete", fields, 2)
		return StoreDelete{Key: r.text("key", MaxKeyBytes)}
	case kindKeep:
		r.want("keep", fields, 3)
		return Keep{Promise: r.ref("promise"), Stored: r.bool("stored")}
	case kindWatch:
		r.want("watch", fields, 3)
		return Watch{Target: r.ref("target"), Result: r.ref("result")}
	case kindCollect:
		r.want("collect", fields, 1)
		return Collect{}
	}
	r.fail("unknown syscall kind %d", kind)
	return nil
}

// refs reads the rest of a delivery or syscall that is only a list of references.
func (r *reader) refs(what string, fields int) []Ref {
	r.want(what, fields, 2)
	return list(r, what, r.lim.List, func() Ref { return r.ref(what) })
}

func (r *reader) resolutions() []Resolution {
	return list(r, "resolutions", r.lim.List, func() Resolution {
		r.array("resolution", 3)
		return Resolution{Promise: r.ref("promise"), Rejected: r.bool("rejected"), Value: r.capData()}
	})
}

func (r *reader) message() Message {
	return Message{MethArgs: r.capData(), Result: r.ref("result")}
}

func (r *reader) capData() CapData {
	r.array("capdata", 2)
	body := r.str("body")
	slots := list(r, "slots", r.lim.Slots, func() Ref { return r.ref("slot") })
	return CapData{Body: body, Slots: slots}
}

// row reads the two fields of a row. A row that does not exist has nil for a value.
func (r *reader) row() Row {
	f := Row{Key: r.text("key", MaxKeyBytes)}
	if r.code() == 0xc0 {
		r.note("value", r.dec.DecodeNil())
		return f
	}
	f.Value, f.Found = r.bytes("value"), true
	return f
}

// reader decodes a validated frame and remembers the first error; after it, every field reads as zero.
//
// The library is lenient where a border must not be: it takes nil for any type, floats and negative numbers for
// unsigned ones, and text for bytes. So each method looks at the code before it decodes.
type reader struct {
	dec   *msgpack.Decoder
	frame []byte
	in    bytes.Reader // over frame
	lim   Limits
	err   error
}

// readers keeps decoders between frames; no result depends on which decoder made it.
var readers = sync.Pool{New: func() any { return &reader{dec: msgpack.NewDecoder(nil)} }}

func decodeFrame[F any](frame []byte, lim Limits, body func(r *reader, kind, fields int) F) (f F, err error) {
	if len(frame) > lim.FrameBytes {
		return f, fmt.Errorf("frame of %d bytes, %w of %d", len(frame), ErrLimit, lim.FrameBytes)
	}
	if err := Validate(frame, lim.Depth); err != nil {
		return f, err
	}
	r := readers.Get().(*reader)
	r.frame = frame
	r.in.Reset(frame)
	r.dec.ResetReader(&r.in)
	r.lim, r.err = lim, nil
	kind, fields := r.item("frame")
	got := body(r, kind, fields)
	// Validate has found exactly one value. An array with too many fields is found by the bytes that are left;
	// an array with too few, by the missing field.
	if err = r.err; err == nil && r.in.Len() > 0 {
		err = errors.New("frame has more than its fields")
	}
	r.frame = nil
	r.in.Reset(nil)
	readers.Put(r)
	if err != nil {
		return f, err
	}
	return got, nil
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *reader) note(what string, err error) {
	if err != nil {
		r.fail("%s: %w", what, err)
	}
}

// code returns the first byte of the next item, or 0xc1 (which is in no frame) if there is none.
func (r *reader) code() byte {
	rest := r.in.Len()
	if r.err == nil && rest > 0 {
		return r.frame[len(r.frame)-rest]
	}
	r.fail("frame ends early")
	return 0xc1
}

func (r *reader) length(what string) int {
	if c := r.code(); c&0xf0 != 0x90 && c != 0xdc && c != 0xdd {
		r.fail("%s: want an array, got code %#02x", what, c)
		return 0
	}
	n, err := r.dec.DecodeArrayLen()
	r.note(what, err)
	return n
}

func (r *reader) want(what string, fields, want int) {
	if fields != want {
		r.fail("%s: want %d fields, got %d", what, want, fields)
	}
}

func (r *reader) array(what string, want int) { r.want(what, r.length(what), want) }

// item reads the start of an array whose first field is a kind.
func (r *reader) item(what string) (kind, fields int) {
	fields = r.length(what)
	return r.count(what), fields
}

// list reads a list. An empty list is nil.
func list[T any](r *reader, what string, limit int, item func() T) []T {
	n := r.length(what)
	if n > limit {
		r.fail("%s: %d items, %w of %d", what, n, ErrLimit, limit)
	}
	if n == 0 || r.err != nil {
		return nil
	}
	items := make([]T, 0, min(n, 64)) // the capacity is bounded; a peer can announce 65,536 empty items with few bytes
	for range n {
		if items = append(items, item()); r.err != nil {
			return nil
		}
	}
	return items
}

func (r *reader) str(what string) string {
	if c := r.code(); c&0xe0 != 0xa0 && c != 0xd9 && c != 0xda && c != 0xdb {
		r.fail("%s: want a string, got code %#02x", what, c)
		return ""
	}
	s, err := r.dec.DecodeString()
	r.note(what, err)
	return s
}

func (r *reader) text(what string, limit int) string {
	s := r.str(what)
	if len(s) > limit {
		r.fail("%s: %d bytes, %w of %d", what, len(s), ErrLimit, limit)
		return ""
	}
	return s
}

func (r *reader) ref(what string) Ref { return Ref(r.text(what, MaxRefBytes)) }

func (r *reader) bytes(what string) []byte {
	if c := r.code(); c < 0xc4 || c > 0xc6 {
		r.fail("%s: want bytes, got code %#02x", what, c)
		return nil
	}
	b, err := r.dec.DecodeBytes()
	r.note(what, err)
	if b == nil && r.err == nil {
		b = []byte{}
	}
	return b
}

func (r *reader) uint(what string) uint64 {
	if c := r.code(); c > 0x7f && (c < 0xcc || c > 0xcf) {
		r.fail("%s: want a natural number, got code %#02x", what, c)
		return 0
	}
	n, err := r.dec.DecodeUint64()
	r.note(what, err)
	return n
}

func (r *reader) int(what string) int64 {
	c := r.code()
	if c >= 0xd0 && c <= 0xd3 || c >= 0xe0 {
		n, err := r.dec.DecodeInt64()
		r.note(what, err)
		return n
	}
	n := r.uint(what)
	if n > math.MaxInt64 {
		r.fail("%s: %d is out of range", what, n)
		return 0
	}
	return int64(n)
}

func (r *reader) count(what string) int {
	n := r.uint(what)
	if n > math.MaxInt32 {
		r.fail("%s: %d is out of range", what, n)
		return 0
	}
	return int(n)
}

func (r *reader) bool(what string) bool {
	if c := r.code(); c != 0xc2 && c != 0xc3 {
		r.fail("%s: want a truth value, got code %#02x", what, c)
		return false
	}
	b, err := r.dec.DecodeBool()
	r.note(what, err)
	return b
}

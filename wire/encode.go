package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync"
	"unicode/utf8"

	"github.com/vmihailenco/msgpack/v5"
)

// AppendDown appends f, with its header, to buf. An error means that no frame can hold f (a nil delivery, a
// string that is not UTF-8, a key longer than [MaxKeyBytes]). Then buf is returned as it was.
func AppendDown(buf []byte, f DownFrame) ([]byte, error) {
	return appendFrame(buf, func(w *writer) {
		switch f := f.(type) {
		case Start:
			w.array(11)
			w.uint(kindStart)
			w.str(f.Vat)
			w.str(f.Name)
			w.str(f.Module)
			w.str(f.Parameters)
			w.uint(f.Incarnation)
			w.uint(f.HighObject)
			w.uint(f.HighPromise)
			w.uint(f.Replays)
			w.count(f.MaxFrameBytes)
			w.count(f.MaxSyscalls)
		case Deliver:
			w.array(7)
			w.uint(kindDeliver)
			w.uint(f.Number)
			w.int(f.Now)
			w.uint(f.Seed)
			w.uint(f.Attempt)
			w.array(len(f.State))
			for i := range f.State {
				w.array(2)
				w.row(&f.State[i])
			}
			w.delivery(f.Delivery)
		case Row:
			w.array(3)
			w.uint(kindRow)
			w.row(&f)
		case Bye:
			w.array(1)
			w.uint(kindBye)
		default:
			w.fail(fmt.Errorf("%T is no frame", f))
		}
	})
}

// AppendUp appends f, with its header, to buf. Errors are those of [AppendDown].
func AppendUp(buf []byte, f UpFrame) ([]byte, error) {
	return appendFrame(buf, func(w *writer) {
		switch f := f.(type) {
		case Hello:
			w.array(2)
			w.uint(kindHello)
			w.text(f.Error, MaxTextBytes)
		case Done:
			w.array(4)
			w.uint(kindDone)
			w.uint(f.Number)
			w.array(len(f.Syscalls))
			for _, s := range f.Syscalls {
				w.syscall(s)
			}
			w.array(2)
			w.count(f.Outcome.Parked)
			w.text(f.Outcome.Fault, MaxTextBytes)
		case Get:
			w.array(2)
			w.uint(kindGet)
			w.text(f.Key, MaxKeyBytes)
		case Next:
			w.array(3)
			w.uint(kindNext)
			w.text(f.After, MaxKeyBytes)
			w.text(f.Prefix, MaxKeyBytes)
		default:
			w.fail(fmt.Errorf("%T is no frame", f))
		}
	})
}

func (w *writer) delivery(d Delivery) {
	switch d := d.(type) {
	case StartVat:
		w.array(1)
		w.uint(kindStartVat)
	case Call:
		w.array(4)
		w.uint(kindCall)
		w.ref(d.Target)
		w.message(&d.Message)
	case Notify:
		w.array(2)
		w.uint(kindNotify)
		w.resolutions(d.Resolutions)
	case DropExports:
		w.refs(kindDropExports, d.Refs)
	case RetireExports:
		w.refs(kindRetireExports, d.Refs)
	case RetireImports:
		w.refs(kindRetireImports, d.Refs)
	case BringOutYourDead:
		w.bringOut(&d)
	default:
		w.fail(fmt.Errorf("%T is no delivery", d))
	}
}

func (w *writer) syscall(s Syscall) {
	switch s := s.(type) {
	case Send:
		w.array(4)
		w.uint(kindSend)
		w.ref(s.Target)
		w.message(&s.Message)
	case Subscribe:
		w.array(3)
		w.uint(kindSubscribe)
		w.ref(s.Promise)
		w.bool(s.Stored)
	case Resolve:
		w.array(2)
		w.uint(kindResolve)
		w.resolutions(s.Resolutions)
	case Exit:
		w.array(3)
		w.uint(kindExit)
		w.bool(s.Failure)
		w.capData(&s.Info)
	case DropImports:
		w.refs(kindDropImports, s.Refs)
	case RetireImportsCall:
		w.refs(kindRetireImportsCall, s.Refs)
	case RetireExportsCall:
		w.refs(kindRetireExportsCall, s.Refs)
	case AbandonExports:
		w.refs(kindAbandonExports, s.Refs)
	case StoreSet:
		w.array(3)
		w.uint(kindStoreSet)
		w.text(s.Key, MaxKeyBytes)
		w.bytes(s.Value)
	case StoreDelete:
		w.array(2)
		w.uint(kindStoreDelete)
		w.text(s.Key, MaxKeyBytes)
	case Keep:
		w.array(3)
		w.uint(kindKeep)
		w.ref(s.Promise)
		w.bool(s.Stored)
	case Watch:
		w.array(3)
		w.uint(kindWatch)
		w.ref(s.Target)
		w.ref(s.Result)
	case Collect:
		w.array(1)
		w.uint(kindCollect)
	default:
		w.fail(fmt.Errorf("%T is no syscall", s))
	}
}

// bringOut writes the delivery in the form of version 1 or 2.
func (w *writer) bringOut(d *BringOutYourDead) {
	switch {
	case d.Bare && (len(d.Known) > 0 || d.More):
		w.fail(errors.New("bring out your dead has fields, and is to have none"))
		return
	case d.Bare:
		w.array(1)
		w.uint(kindBringOutYourDead)
		return
	case len(d.Known) > MaxKnown:
		w.fail(fmt.Errorf("bring out your dead names %d objects, %w of %d", len(d.Known), ErrLimit, MaxKnown))
		return
	}
	w.array(3)
	w.uint(kindBringOutYourDead)
	w.array(len(d.Known))
	for _, r := range d.Known {
		w.ref(r)
	}
	w.bool(d.More)
}

// refs writes the whole item of a delivery or syscall that is only a list of references.
func (w *writer) refs(kind uint64, refs []Ref) {
	w.array(2)
	w.uint(kind)
	w.array(len(refs))
	for _, r := range refs {
		w.ref(r)
	}
}

func (w *writer) resolutions(rs []Resolution) {
	w.array(len(rs))
	for i := range rs {
		w.array(3)
		w.ref(rs[i].Promise)
		w.bool(rs[i].Rejected)
		w.capData(&rs[i].Value)
	}
}

func (w *writer) message(m *Message) {
	w.capData(&m.MethArgs)
	w.ref(m.Result)
}

func (w *writer) capData(d *CapData) {
	w.array(2)
	w.str(d.Body)
	w.array(len(d.Slots))
	for _, r := range d.Slots {
		w.ref(r)
	}
}

// row writes the two fields of a row. A row that does not exist has nil for a value.
func (w *writer) row(r *Row) {
	w.text(r.Key, MaxKeyBytes)
	if r.Found {
		w.bytes(r.Value)
		return
	}
	if r.Value != nil {
		w.fail(errors.New("a row that was not found has a value"))
	}
	w.note(w.enc.EncodeNil())
}

// writer encodes into a slice, and remembers the first error.
type writer struct {
	enc *msgpack.Encoder
	out []byte
	err error
}

// writers keeps encoders between frames; no frame depends on which encoder made it.
var writers = sync.Pool{New: func() any {
	w := new(writer)
	w.enc = msgpack.NewEncoder(w)
	return w
}}

func appendFrame(buf []byte, body func(*writer)) ([]byte, error) {
	w := writers.Get().(*writer)
	w.out, w.err = append(buf, 0, 0, 0, 0), nil
	body(w)
	out, err := w.out, w.err
	w.out = nil
	writers.Put(w)
	if err != nil {
		return buf, err
	}
	size := len(out) - len(buf) - HeaderBytes
	if size > math.MaxUint32 {
		return buf, fmt.Errorf("frame of %d bytes, %w of 4 GiB", size, ErrLimit)
	}
	binary.LittleEndian.PutUint32(out[len(buf):], uint32(size))
	return out, nil
}

// Write and WriteByte make a writer the sink of its own encoder.
func (w *writer) Write(b []byte) (int, error) {
	w.out = append(w.out, b...)
	return len(b), nil
}

// WriteByte appends b, like Write.
func (w *writer) WriteByte(b byte) error {
	w.out = append(w.out, b)
	return nil
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// note remembers an error of the encoder. Its sink, the writer, never fails.
func (w *writer) note(err error) {
	if err != nil {
		w.fail(err)
	}
}

func (w *writer) array(n int)   { w.note(w.enc.EncodeArrayLen(n)) }
func (w *writer) uint(n uint64) { w.note(w.enc.EncodeUint(n)) }
func (w *writer) int(n int64)   { w.note(w.enc.EncodeInt(n)) }
func (w *writer) bool(b bool)   { w.note(w.enc.EncodeBool(b)) }

func (w *writer) count(n int) {
	if n < 0 {
		w.fail(fmt.Errorf("negative count %d", n))
		return
	}
	w.uint(uint64(n))
}

func (w *writer) str(s string) {
	if !utf8.ValidString(s) {
		w.fail(errors.New("string is not UTF-8"))
		return
	}
	w.note(w.enc.EncodeString(s))
}

func (w *writer) text(s string, limit int) {
	if len(s) > limit {
		w.fail(fmt.Errorf("field of %d bytes, %w of %d", len(s), ErrLimit, limit))
		return
	}
	w.str(s)
}

func (w *writer) ref(r Ref) { w.text(string(r), MaxRefBytes) }

// bytes writes a nil slice like an empty one: as no bytes.
func (w *writer) bytes(b []byte) {
	w.note(w.enc.EncodeBytesLen(len(b)))
	w.out = append(w.out, b...)
}

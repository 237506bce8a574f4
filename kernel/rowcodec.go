package kernel

import (
	"bytes"
	"fmt"

	"github.com/vmihailenco/msgpack/v5"
	"ocapkernel.dev/storage"
)

// rowEncoder writes rows. A machine has one and reuses it.
type rowEncoder struct {
	buf bytes.Buffer
	e   *msgpack.Encoder
}

func newRowEncoder() *rowEncoder {
	r := &rowEncoder{}
	r.e = msgpack.NewEncoder(&r.buf)
	r.e.UseCompactInts(true)
	return r
}

// row encodes one row of n fields and returns its bytes, owned by the caller.
func (r *rowEncoder) row(n int, fields func()) []byte {
	r.buf.Reset()
	r.arr(n)
	fields()
	return bytes.Clone(r.buf.Bytes())
}

// Writing to a buffer cannot fail, hence the ignored errors.
func (r *rowEncoder) arr(n int)      { _ = r.e.EncodeArrayLen(n) }
func (r *rowEncoder) uint(n uint64)  { _ = r.e.EncodeUint(n) }
func (r *rowEncoder) str(s string)   { _ = r.e.EncodeString(s) }
func (r *rowEncoder) bytes(b []byte) { _ = r.e.EncodeBytes(b) }
func (r *rowEncoder) bool(b bool)    { _ = r.e.EncodeBool(b) }
func (r *rowEncoder) data(d Data) {
	r.str(d.Body)
	r.arr(len(d.Slots))
	for _, s := range d.Slots {
		r.str(string(s))
	}
}

func list[T ~string](r *rowEncoder, list []T) {
	r.arr(len(list))
	for _, s := range list {
		r.str(string(s))
	}
}

func (r *rowEncoder) message(m message) {
	r.str(string(m.target))
	r.data(m.methArgs)
	r.str(string(m.result))
	r.str(string(m.from))
	r.uint(m.inc)
}

// rowDecoder reads rows. Bytes that are no row of ours are corruption, and stop the process.
type rowDecoder struct {
	rd  bytes.Reader
	d   *msgpack.Decoder
	key string
}

func newRowDecoder() *rowDecoder {
	r := &rowDecoder{}
	r.d = msgpack.NewDecoder(&r.rd)
	return r
}

func (r *rowDecoder) open(key string, b []byte, n int) {
	r.openGrown(key, b, n, n)
}

// openGrown is open for a row that had fewer fields when an earlier version wrote it. It returns how many it has.
func (r *rowDecoder) openGrown(key string, b []byte, was, now int) int {
	r.key = key
	r.rd.Reset(b)
	r.d.ResetReader(&r.rd)
	n := r.arr()
	if n < was || n > now {
		r.corrupt(fmt.Errorf("%d fields, want %d to %d", n, was, now))
	}
	return n
}

func (r *rowDecoder) corrupt(err error) {
	panic(failure{fmt.Errorf("row %s: %w: %w", r.key, err, storage.ErrCorrupt)})
}

func (r *rowDecoder) arr() int {
	n, err := r.d.DecodeArrayLen()
	if err != nil {
		r.corrupt(err)
	}
	if n < 0 || n > r.rd.Len() {
		r.corrupt(fmt.Errorf("list of %d", n))
	}
	return n
}

func (r *rowDecoder) uint() uint64 {
	n, err := r.d.DecodeUint64()
	if err != nil {
		r.corrupt(err)
	}
	return n
}

func (r *rowDecoder) str() string {
	s, err := r.d.DecodeString()
	if err != nil {
		r.corrupt(err)
	}
	return s
}

func (r *rowDecoder) bytes() []byte {
	b, err := r.d.DecodeBytes()
	if err != nil {
		r.corrupt(err)
	}
	return b
}

func (r *rowDecoder) bool() bool {
	b, err := r.d.DecodeBool()
	if err != nil {
		r.corrupt(err)
	}
	return b
}

func (r *rowDecoder) data() Data {
	d := Data{Body: r.str()}
	if n := r.arr(); n > 0 {
		d.Slots = make([]KRef, n)
		for i := range d.Slots {
			d.Slots[i] = KRef(r.str())
		}
	}
	return d
}

// slots reads the slots of a value and passes over its body.
func (r *rowDecoder) slots() (slots []KRef) {
	if err := r.d.Skip(); err != nil {
		r.corrupt(err)
	}
	return names[KRef](r)
}

func names[T ~string](r *rowDecoder) (out []T) {
	for range r.arr() {
		out = append(out, T(r.str()))
	}
	return out
}

func (r *rowDecoder) message() message {
	return message{target: KRef(r.str()), methArgs: r.data(), result: KRef(r.str()), from: VatID(r.str()), inc: r.uint()}
}

package kernel

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
	"ocapkernel.dev/storage"
)

// A codec writes and reads rows. The method fields of each row lists its fields, their order, and their names. The
// codec goes through them to write the row, to read it, or to list the names for docs/schema.md. A machine has one
// codec and reuses it.
type codec struct {
	task task

	buf bytes.Buffer
	e   *msgpack.Encoder

	rd  bytes.Reader
	d   *msgpack.Decoder
	key string
	// ended says that the row ends before the fields that follow: an earlier version wrote it.
	ended bool

	// n counts the fields written so far, or those that are left to be read.
	n     int
	names []string

	// seen is called with each field that was read; nil is not called. It is for people who look at rows.
	seen func(name string, value any)
}

// task is the purpose for which a codec goes through the fields of a row.
type task uint8

const (
	writing task = iota
	reading
	listing
)

func newCodec() *codec {
	c := &codec{}
	c.e = msgpack.NewEncoder(&c.buf)
	c.e.UseCompactInts(true)
	c.d = msgpack.NewDecoder(&c.rd)
	return c
}

// encode returns the bytes of a row with these fields, owned by the caller.
func (c *codec) encode(fields func(*codec)) []byte {
	c.beginRow()
	fields(c)
	return c.row()
}

func (c *codec) beginRow() {
	c.task, c.n = writing, 0
	c.buf.Reset()
}

// row returns the fields written since beginRow, behind their number.
func (c *codec) row() []byte {
	row := make([]byte, 0, 3+c.buf.Len())
	if c.n < 16 {
		row = append(row, 0x90|byte(c.n))
	} else {
		row = append(row, 0xdc, byte(c.n>>8), byte(c.n))
	}
	return append(row, c.buf.Bytes()...)
}

// decode reads a row into fields that are zero. Bytes that are no such row are corruption, and end the commit.
func (c *codec) decode(key string, b []byte, fields func(*codec)) {
	c.begin(key, b)
	fields(c)
	c.end()
}

func (c *codec) begin(key string, b []byte) {
	c.task, c.key, c.ended = reading, key, false
	c.rd.Reset(b)
	c.d.ResetReader(&c.rd)
	c.n = c.len()
}

func (c *codec) end() {
	if c.n != 0 {
		c.corrupt(fmt.Errorf("%d fields too many", c.n))
	}
}

// describe returns the names of a row's fields, in a line.
func (c *codec) describe(fields func(*codec)) string {
	c.task, c.names = listing, nil
	fields(c)
	return strings.ReplaceAll(strings.Join(c.names, ", "), ", †, ", "; † ")
}

// later says that the fields which follow came with a later version: a row of an earlier one may end here, and the
// fields then stay zero.
func (c *codec) later() {
	switch c.task {
	case writing:
	case reading:
		c.ended = c.ended || c.n == 0
	case listing:
		c.names = append(c.names, "†")
	}
}

// valid ends the commit if a value just read is impossible, that is if ok is false.
func (c *codec) valid(ok bool, format string, args ...any) {
	if c.task == reading && !ok {
		c.corrupt(fmt.Errorf(format, args...))
	}
}

// corrupt ends the commit: the row that was read last is corrupt.
func (c *codec) corrupt(err error) {
	panic(failure{fmt.Errorf("row %s: %w: %w", c.key, err, storage.ErrCorrupt)})
}

// corruptAt ends the commit: the row under key is corrupt.
func (c *codec) corruptAt(key string, err error) {
	c.key = key
	c.corrupt(err)
}

// next turns to the next field and returns whether to write or to read it. Writing to a buffer cannot fail, hence the
// ignored errors of the methods that write.
func (c *codec) next(name string) (write, read bool) {
	switch c.task {
	case writing:
		c.n++
		return true, false
	case reading:
		if c.ended {
			return false, false
		}
		if c.n--; c.n < 0 {
			c.corrupt(fmt.Errorf("it ends before the field %q", name))
		}
		return false, true
	case listing:
		c.names = append(c.names, name)
	}
	return false, false
}

// saw calls seen with a field that is a pointer to a uint64, a bool or bytes. The field is not copied where nobody looks.
func (c *codec) saw(name string, field any) {
	if c.seen == nil {
		return
	}
	switch f := field.(type) {
	case *uint64:
		c.seen(name, *f)
	case *bool:
		c.seen(name, *f)
	case *[]byte:
		c.seen(name, *f)
	}
}

// texts returns names as strings.
func texts[T ~string](names []T) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return out
}

func (c *codec) uint(name string, n *uint64) {
	switch write, read := c.next(name); {
	case write:
		_ = c.e.EncodeUint(*n)
	case read:
		*n = c.readUint()
		c.saw(name, n)
	}
}

// time is a time in milliseconds.
func (c *codec) time(name string, at *int64) {
	n := uint64(*at)
	c.uint(name, &n)
	*at = int64(n)
}

func (c *codec) bool(name string, b *bool) {
	switch write, read := c.next(name); {
	case write:
		_ = c.e.EncodeBool(*b)
	case read:
		var err error
		if *b, err = c.d.DecodeBool(); err != nil {
			c.corrupt(err)
		}
		c.saw(name, b)
	}
}

func (c *codec) bytes(name string, b *[]byte) {
	switch write, read := c.next(name); {
	case write:
		_ = c.e.EncodeBytes(*b)
	case read:
		var err error
		if *b, err = c.d.DecodeBytes(); err != nil {
			c.corrupt(err)
		}
		c.saw(name, b)
	}
}

// data is two fields, a body and the list of its slots.
func (c *codec) data(name string, d *Data) {
	if c.task == listing {
		c.next(name + " (data)")
		return
	}
	text(c, name, &d.Body)
	list(c, "its slots", &d.Slots)
}

// slots reads the slots of a data field and passes over its body.
func (c *codec) slots(slots *[]KRef) {
	c.next("body")
	if err := c.d.Skip(); err != nil {
		c.corrupt(err)
	}
	list(c, "its slots", slots)
}

// message is the fields of a message.
func (c *codec) message(name string, m *message) {
	if c.task == listing {
		c.next(name)
		return
	}
	m.fields(c)
}

func (m *message) fields(c *codec) {
	text(c, "target", &m.target)
	c.data("method and arguments", &m.methArgs)
	text(c, "result (or empty)", &m.result)
	text(c, "the vat that sent it (empty: a host, or the kernel)", &m.from)
	c.uint("which incarnation of it", &m.inc)
}

// text is a name, or any other string.
func text[T ~string](c *codec, name string, s *T) {
	switch write, read := c.next(name); {
	case write:
		_ = c.e.EncodeString(string(*s))
	case read:
		*s = T(c.readString())
		if c.seen != nil {
			c.seen(name, string(*s))
		}
	}
}

// number is one of a closed set.
func number[T ~uint8](c *codec, name string, most T, n *T) {
	switch write, read := c.next(name); {
	case write:
		_ = c.e.EncodeUint(uint64(*n))
	case read:
		is := c.readUint()
		if is > uint64(most) {
			c.corrupt(fmt.Errorf("%s %d", name, is))
		}
		*n = T(is)
		c.saw(name, &is)
	}
}

// id sets the id of a row, which its key holds.
func id[T ~string](c *codec, id *T) {
	if c.task == reading {
		*id = T(idIn(c.key))
	}
}

// list is a list of names.
func list[T ~string](c *codec, name string, names *[]T) {
	switch write, read := c.next(name); {
	case write:
		_ = c.e.EncodeArrayLen(len(*names))
		for _, s := range *names {
			_ = c.e.EncodeString(string(s))
		}
	case read:
		if n := c.len(); n > 0 {
			*names = make([]T, n)
			for i := range *names {
				(*names)[i] = T(c.readString())
			}
		}
		if c.seen != nil {
			c.seen(name, texts(*names))
		}
	}
}

// len reads the length of a list, each entry of which has at least a byte.
func (c *codec) len() int {
	n, err := c.d.DecodeArrayLen()
	if err != nil {
		c.corrupt(err)
	}
	if n < 0 || n > c.rd.Len() {
		c.corrupt(fmt.Errorf("list of %d", n))
	}
	return n
}

func (c *codec) readUint() uint64 {
	n, err := c.d.DecodeUint64()
	if err != nil {
		c.corrupt(err)
	}
	return n
}

func (c *codec) readString() string {
	s, err := c.d.DecodeString()
	if err != nil {
		c.corrupt(err)
	}
	return s
}

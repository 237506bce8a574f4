package kernel

import (
	"encoding/binary"
	"fmt"
	"strings"

	"ocapkernel.dev/storage"
)

// rowForms are the forms of the rows whose values are lists of fields, by the form of their keys, as docs/schema.md has it.
var rowForms = []struct {
	key    string
	fields func() func(*codec)
}{
	{"v.<vat>", func() func(*codec) { return new(vatRow).fields }},
	{"r.<vat>", func() func(*codec) { return new(run).fields }},
	{"q.<vat>.<n>", func() func(*codec) { return new(item).fields }},
	{"y.<vat>.<span>.<n>", func() func(*codec) { return new(exchange).fields }},
	{"z.<vat>.<span>.<key>", func() func(*codec) { return new(former).fields }},
	{"x.<vat>.<n>", func() func(*codec) { return new(poisoned).fields }},
	{"exit.<vat>", func() func(*codec) { return new(exit).fields }},
	{"o.<ko>", func() func(*codec) { return new(object).fields }},
	{"p.<kp>", func() func(*codec) { return new(promise).fields }},
	{"b.<kp>", func() func(*codec) { return new(answer).fields }},
	{"m.<kp>.<n>", func() func(*codec) { return new(message).fields }},
	{"u.<sub>", func() func(*codec) { return new(subcluster).fields }},
	{"result.<sub>", func() func(*codec) { return new(answer).fields }},
	{"t.<ticket>", func() func(*codec) { return new(ticket).fields }},
	{"reload.<sub>", func() func(*codec) { return new(pendingReload).fields }},
	{"h.<sub>", func() func(*codec) { return new(config).fields }},
	{"k.<ko>", func() func(*codec) { return new(service).fields }},
	{"i.<ko>.<n>", func() func(*codec) { return new(item).fields }},
	{"a.<ko>.<n>", func() func(*codec) { return new(serviceCall).fields }},
	{"j.<ko>.c<class>.<n>", func() func(*codec) { return new(unit).fields }},
	{"work", func() func(*codec) { return new(workRange).fields }},
	{"w.<n>", func() func(*codec) { return new(work).fields }},
	{"search", func() func(*codec) { return new(search).fields }},
}

// Field is a field of a row.
type Field struct {
	// Name is the name in docs/schema.md, without what stands in brackets behind it.
	Name string
	// Value is a uint64, bool, string, []string or []byte. A marshalled value is two fields, its body and its slots.
	Value any
}

// RowDescription describes a row for a person.
type RowDescription struct {
	// Form is the form of the row's key in docs/schema.md; empty for a row without fields.
	Form string
	// Fields are the fields. They are nil for a row without fields.
	Fields []Field
	// Number is the value of a row that is a number of 8 bytes, if IsNumber is set.
	Number   uint64
	IsNumber bool
}

// DescribeRow describes a row by its key and value. The error is [storage.ErrCorrupt], wrapped, if the value is not as
// docs/schema.md describes it. Any key and value may be given.
func DescribeRow(key string, value []byte) (d RowDescription, err error) {
	kind, _, _ := strings.Cut(key, ".")
	for _, form := range rowForms {
		if k, _, _ := strings.Cut(form.key, "."); k != kind || strings.Contains(form.key, ".") != strings.Contains(key, ".") {
			continue
		}
		if kind == "reload" && len(value) == 0 { // of an earlier version
			return d, nil
		}
		defer caught(&err)
		d.Form = form.key
		c := newCodec()
		c.seen = func(name string, v any) {
			name, _, _ = strings.Cut(name, " (")
			d.Fields = append(d.Fields, Field{name, v})
		}
		c.decode(key, value, form.fields())
		return d, nil
	}
	switch kind {
	case keySchema, "next", "count", "unstarted", "left":
		if len(value) == 8 {
			d.Number, d.IsNumber = binary.BigEndian.Uint64(value), true
			return d, nil
		}
	case keyCommit:
		if len(value) == 24 {
			d.Fields = []Field{
				{"number", binary.BigEndian.Uint64(value)},
				{"hash", fmt.Sprintf("%016x", value[8:16])},
				{"deliveries", binary.BigEndian.Uint64(value[16:])},
			}
			return d, nil
		}
	default:
		return d, nil
	}
	return d, storage.ErrCorrupt
}

package kernel

import (
	"fmt"
	"strings"

	"ocapkernel.dev/storage"
)

// CheckMore checks that counters of bytes are equal to the bytes that are there: Check says only that they are not above, since an
// earlier version did not count; and that a promise says in which queues notifications of it are. It returns one line for each violation.
func CheckMore(r storage.Reader) (problems []string) {
	d := newDumper(r)
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	codec := d.t.codec
	bytes, told := map[string]uint64{}, map[string]bool{}
	for _, prefix := range []string{"q.", "i."} {
		d.each(prefix, func(rest string, b []byte) {
			of, _, _ := strings.Cut(rest, ".")
			var it item
			codec.decode(prefix+rest, b, it.fields)
			switch it.kind {
			case itemMessage:
				bytes[of] += it.msg.size()
			case itemNotify:
				told[of+" "+string(it.promise)] = true
			}
		})
	}
	d.each("k.", func(k string, b []byte) {
		var s service
		codec.decode("k."+k, b, s.fields)
		if s.queuedBytes != bytes[k] {
			bad("%s counts %d bytes that wait, there are %d", k, s.queuedBytes, bytes[k])
		}
	})
	d.each("x.", func(rest string, b []byte) {
		v, _, _ := strings.Cut(rest, ".")
		var p poisoned
		codec.decode("x."+rest, b, p.fields)
		bytes["x "+v] += p.msg.size()
	})
	d.each("r.", func(v string, b []byte) {
		var u run
		codec.decode("r."+v, b, u.fields)
		if u.phase != dead && (u.queue.bytes != bytes[v] || u.poisoned.bytes != bytes["x "+v]) {
			bad("%s counts %d and %d bytes of messages and poisoned ones, there are %d and %d", v, u.queue.bytes, u.poisoned.bytes, bytes[v], bytes["x "+v])
		}
	})
	d.each("m.", func(rest string, b []byte) {
		k, _, _ := strings.Cut(rest, ".")
		var m message
		codec.decode("m."+rest, b, m.fields)
		bytes[k] += m.size()
	})
	d.each("p.", func(rest string, b []byte) {
		var p promise
		codec.decode("p."+rest, b, p.fields)
		if p.parkedBytes != bytes[rest] {
			bad("%s counts %d bytes that are parked, there are %d", rest, p.parkedBytes, bytes[rest])
		}
		for _, v := range p.told {
			delete(told, string(v)+" "+rest)
		}
	})
	for is := range sorted(told) {
		bad("a notification is queued of which the promise does not know: %s", is)
	}
	return problems
}

package kernel

import "fmt"

// service is the row of a service object.
type service struct {
	id            KRef // in the key, not in the row
	name, kind    string
	sub           SubID // empty: it belongs to the kernel
	config, state []byte
	holds         []KRef
	// ended says that it is being removed: nothing reaches it any more. more says that an item of the
	// kernel's work will begin more calls.
	ended, more bool
	// The items of its queue lie between head and tail. calls counts those begun and not done, next numbers
	// the next one.
	head, tail, calls, next uint64
	// queuedBytes is the size of the messages that wait.
	queuedBytes uint64
	// callBytes sums the bodies of the calls begun.
	callBytes uint64
	// units counts the units that go back to the head of its input, nextUnit numbers all units.
	units, nextUnit uint64
}

func (s *service) encode(r *rowEncoder) []byte {
	return r.row(16, func() {
		r.str(s.name)
		r.str(s.kind)
		r.str(string(s.sub))
		r.bytes(s.config)
		r.bytes(s.state)
		list(r, s.holds)
		r.bool(s.ended)
		r.bool(s.more)
		for _, n := range []uint64{s.head, s.tail, s.calls, s.next, s.callBytes, s.units, s.nextUnit, s.queuedBytes} {
			r.uint(n)
		}
	})
}

func (s *service) decode(r *rowDecoder, key string, b []byte) {
	n := r.openGrown(key, b, 15, 16)
	*s = service{id: KRef(idIn(key)), name: r.str(), kind: r.str(), sub: SubID(r.str()), config: r.bytes(), state: r.bytes(), holds: names[KRef](r), ended: r.bool(), more: r.bool()}
	for _, n := range []*uint64{&s.head, &s.tail, &s.calls, &s.next, &s.callBytes, &s.units, &s.nextUnit} {
		*n = r.uint()
	}
	if n > 15 {
		s.queuedBytes = r.uint()
	}
	if s.head > s.tail {
		r.corrupt(fmt.Errorf("impossible state"))
	}
}

// serviceCall is a call of a service object that was begun.
type serviceCall struct {
	at  int64 // when it was begun
	msg message
}

func (c *serviceCall) encode(r *rowEncoder) []byte {
	return r.row(1+messageFields, func() { r.uint(uint64(c.at)); r.message(c.msg) })
}

func (c *serviceCall) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 1+messageFields)
	*c = serviceCall{at: int64(r.uint()), msg: r.message()}
}

// unit is a unit of input that goes back to the head of its channel.
type unit struct {
	class string
	value Data
}

func (u *unit) encode(r *rowEncoder) []byte {
	return r.row(3, func() { r.str(u.class); r.data(u.value) })
}

func (u *unit) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 3)
	*u = unit{class: r.str(), value: r.data()}
}

// config is the row of a subcluster's configuration.
type config struct {
	config []byte
	system string
	// reload says that it is to be launched again once the subcluster is gone; by and byCall are the call
	// that waits for that, if there is one.
	reload bool
	by     KRef
	byCall uint64
}

func (c *config) encode(r *rowEncoder) []byte {
	return r.row(5, func() {
		r.bytes(c.config)
		r.str(c.system)
		r.bool(c.reload)
		r.str(string(c.by))
		r.uint(c.byCall)
	})
}

func (c *config) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 5)
	*c = config{config: r.bytes(), system: r.str(), reload: r.bool(), by: KRef(r.str()), byCall: r.uint()}
}

package kernel

import (
	"cmp"
	"slices"
	"strings"
)

// Service is the description and state of a service object.
type Service struct {
	KRef          KRef
	Name, Kind    string
	Sub           SubID
	Config, State []byte
	Holds         []KRef
	Ended         bool
	// Calls counts the calls that are begun and not done, Queued the items that wait to be begun, Units the units of
	// input that are given back.
	Calls, Queued, Units uint64
	// Corrupt says that the row of the service object cannot be read, and why. Then only KRef and Sub are set.
	Corrupt error
}

// Outstanding is a call of a service object that is begun and not done.
type Outstanding struct {
	ID CallID
	// From is the vat that called, empty for a host; Sub is its subcluster.
	From VatID
	Sub  SubID
	// At is when the call was begun, in milliseconds.
	At       int64
	MethArgs Data
	// Corrupt says that the row of the call cannot be read, and why. Then only ID is set.
	Corrupt error
}

// Service returns a service object; found is false if there is none.
func (q *View) Service(k KRef) (out Service, found bool, err error) {
	defer caught(&err)
	s := q.begin(0).services.look(q.tx, k)
	if s == nil {
		return Service{}, false, nil
	}
	return s.export(), true, nil
}

// ServiceNamed returns the service object of a name; empty if there is none.
func (q *View) ServiceNamed(name string) (k KRef, err error) {
	defer caught(&err)
	b, _ := q.begin(0).get(keyServiceName(name))
	return KRef(b), nil
}

// Services lists all service objects, in the order of their keys, including those whose row cannot be read.
func (q *View) Services() (out []Service, err error) {
	defer caught(&err)
	t := q.begin(0)
	for k, b := range t.all("k.", "") {
		out = append(out, t.listedService(KRef(k), b))
	}
	return out, nil
}

// ServicesAfter lists a page of the service objects, in the order of their keys; see [View.VatsAfter].
func (q *View) ServicesAfter(after KRef) (out []Service, next KRef, err error) {
	defer caught(&err)
	t := q.page()
	next = rowsAfter(t, "k.", after, func(k KRef, b []byte) {
		out = append(out, t.listedService(k, b))
	})
	return out, next, nil
}

// listedService is a service object in a list.
func (t *tx) listedService(k KRef, b []byte) Service {
	var s service
	if err := readable(func() { t.codec.decode(keyService(k), b, s.fields) }); err != nil {
		return Service{KRef: k, Sub: t.ownerOf(k), Corrupt: err}
	}
	return s.export()
}

func (s *service) export() Service {
	return Service{
		KRef: s.id, Name: s.name, Kind: s.kind, Sub: s.sub, Config: s.config, State: s.state, Holds: s.holds, Ended: s.ended,
		Calls: s.calls, Queued: s.tail - s.head, Units: s.units,
	}
}

// ServiceOwner returns the subcluster of a service object, also if the object's own row cannot be read. It is empty for
// a service of the kernel.
func (q *View) ServiceOwner(k KRef) (s SubID, err error) {
	defer caught(&err)
	return q.begin(0).ownerOf(k), nil
}

func (t *tx) ownerOf(k KRef) SubID {
	for rest := range t.all("l.", "") {
		if s, ok := strings.CutSuffix(rest, "."+string(k)); ok {
			return SubID(s)
		}
	}
	return ""
}

// ServicesOf lists the service objects of a subcluster.
func (q *View) ServicesOf(id SubID) (out []Service, err error) {
	defer caught(&err)
	t := q.begin(0)
	for k := range t.all(prefixServicesOf(id), "") {
		s := t.services.look(t, KRef(k))
		if s == nil {
			t.lacks(keyService(KRef(k)))
		}
		out = append(out, s.export())
	}
	return out, nil
}

// ServiceCall returns a call that is begun; found is false if it is over.
func (q *View) ServiceCall(id CallID) (o Outstanding, found bool, err error) {
	defer caught(&err)
	t := q.begin(0)
	c := t.call(id)
	if c == nil {
		return Outstanding{}, false, nil
	}
	return t.outstanding(c), true, nil
}

func (t *tx) outstanding(c *serviceCall) Outstanding {
	o := Outstanding{ID: c.id, From: c.msg.from, At: c.at, MethArgs: c.msg.methArgs}
	if v := c.msg.from; v != "" && t.lookRun(v) != nil {
		o.Sub = t.vat(v).sub
	}
	return o
}

// Outstanding lists the calls of a service object that are begun and not done, in the order in which they were begun,
// including those whose row cannot be read.
func (q *View) Outstanding(k KRef) (out []Outstanding, err error) {
	defer caught(&err)
	t := q.begin(0)
	for n, b := range t.all(prefixServiceCalls(k), "") {
		var o Outstanding
		id := CallID{k, numberIn(n)}
		if err := readable(func() {
			c := serviceCall{id: id}
			q.codec.decode(keyServiceCall(id), b, c.fields)
			o = t.outstanding(&c)
		}); err != nil {
			o = Outstanding{ID: id, Corrupt: err}
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Outstanding) int { return cmp.Compare(a.ID.N, b.ID.N) })
	return out, nil
}

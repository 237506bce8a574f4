package kernel

import "ocapkernel.dev/capdata"

// Data is a marshalled value in kernel space.
type Data = capdata.Data[KRef]

// message is a method call in kernel space.
type message struct {
	target   KRef // an object, or the promise that it is parked on
	methArgs Data
	result   KRef   // may be empty
	from     VatID  // the sender; empty: a host, or the kernel
	inc      uint64 // the incarnation of from that did
}

// size is the number of bytes that a message counts for in a queue.
func (m message) size() uint64 { return uint64(dataSize(m.methArgs.Body, len(m.methArgs.Slots))) }

// less takes n from a counter of bytes. Messages that an earlier version queued were not counted, so that it may be
// short.
func less(counter *uint64, n uint64) { *counter -= min(*counter, n) }

// object is the row of an object.
type object struct {
	owner VatID // empty: orphaned
	// inc is the incarnation whose memory the object lives in; 0 if the owner's store holds it. Once
	// that incarnation is dead the object reads as orphaned.
	inc     uint64
	revoked bool
	// service says that it is, or was, a service object: the kernel answers for it, not a vat.
	service                 bool
	reachable, recognizable uint64
	look                    lookKind
}

func (o *object) fields(c *codec) {
	text(c, "owner (empty: orphaned)", &o.owner)
	c.uint("incarnation", &o.inc)
	c.bool("revoked", &o.revoked)
	c.bool("service (the kernel answers for it, or did)", &o.service)
	c.uint("reachable", &o.reachable)
	c.uint("recognizable", &o.recognizable)
	c.later()
	number(c, "listed (0: no, 1: for its owner, 2: for its importers)", listedForImporters, &o.look)
}

type promiseState uint8

const (
	unresolved promiseState = iota
	fulfilled
	rejected
)

func (s promiseState) String() string { return [...]string{"unresolved", "fulfilled", "rejected"}[s] }

// promise is the row of a promise.
type promise struct {
	id    KRef // in the key, not in the row
	state promiseState
	// decider may settle it. decider is empty once the promise is settled, and while the message with this result is in
	// flight.
	decider VatID
	// inc is the incarnation whose memory decides it; once that is dead the promise reads as rejected. It is 0 if the
	// decider's store holds the continuation that will settle it.
	inc uint64
	// awaitsEnd says that only the end of the decider settles it, and no act of the decider before that. Then inc is 0.
	awaitsEnd bool
	// watcher is the vat that made it with Watch, and of which it counts as one of its watches; empty for others.
	watcher VatID
	refs    uint64
	// subscribers are the vats that wait for it. Subscribers of a settled promise are not told yet.
	subscribers []VatID
	// ticket is the host call that waits for it, launch the subcluster whose bootstrap has it as result.
	ticket string
	launch SubID
	// head and tail count the messages parked on it.
	head, tail uint64
	// drained says that an item of a queue, or of the kernel's work, stands for the parked messages.
	drained bool
	// inStead is the vat for which the kernel rejected the promise, although the store of that vat still holds a
	// continuation for it. That vat keeps its name for the promise, and its later resolve or keep of it is ignored. It
	// is anyVat if an earlier version wrote the row, which did not say for which vat it was.
	inStead VatID
	// waitsFor is the promise on which the message is parked that has this promise as its result.
	waitsFor KRef
	// tie is the tie to a call, if the promise is the result of a call of a service object; zero otherwise.
	tie tie
	// told are the vats in whose queues a notification of it is, each once: that notification serves a vat that
	// subscribes again meanwhile, too. (Earlier versions kept them only for units of input, and once for each
	// notification.)
	told []VatID
	// watched are the vats whose store waits for it.
	watched []VatID
	// value is that of a settled promise, once known: it has a row of its own, so that a new reference to a large value
	// does not write it again. Use tx.value.
	value Data
	known bool
	// size is 1 more than the length of the value's body, slots the number of its references: they save reading a value
	// to find that it is too large. size is 0 if the promise is unresolved, or an earlier version settled it.
	size, slots uint64
	// parkedBytes is the size of the messages parked on it.
	parkedBytes uint64
	// mentions counts how often values of settled promises mention it. It may be less if an earlier version settled some of
	// them; see circle.go.
	mentions uint64
}

func (p *promise) fields(c *codec) {
	id(c, &p.id)
	number(c, "state", rejected, &p.state)
	text(c, "decider", &p.decider)
	c.uint("incarnation", &p.inc)
	c.uint("count", &p.refs)
	list(c, "subscribers (list of vats)", &p.subscribers)
	text(c, "ticket", &p.ticket)
	text(c, "launch", &p.launch)
	c.uint("head", &p.head)
	c.uint("tail", &p.tail)
	c.bool("drained", &p.drained)
	text(c, "waits-for", &p.waitsFor)
	inStead := p.inStead != ""
	if c.bool("in-stead (the kernel rejected it for a vat whose store still knows it)", &inStead); inStead && p.inStead == "" {
		p.inStead = anyVat
	}
	text(c, "service object of whose call it is the result", &p.tie.call.Service)
	text(c, "vat that called it", &p.tie.vat)
	c.uint("number of the call (of the unit, once settled)", &p.tie.call.N)
	text(c, "class of the unit", &p.tie.unit)
	list(c, "vats in whose queues a notification is (list)", &p.told)
	list(c, "vats whose store waits for it (list)", &p.watched)
	c.later()
	c.uint("1 + length of the value's body (0: unknown, or unresolved)", &p.size)
	c.uint("number of its references", &p.slots)
	c.uint("bytes of the messages parked on it", &p.parkedBytes)
	c.later()
	c.bool("whether the end of the decider settles it", &p.awaitsEnd)
	c.later()
	text(c, "the vat that has asked for it as a watch, and counts it", &p.watcher)
	c.later()
	text(c, "the vat for which the kernel rejected it (`?`: in-stead was set by a version that did not say which)", &p.inStead)
	c.later()
	c.uint("times that values of settled promises mention it (or fewer, if an earlier version settled some of them)", &p.mentions)
}

// anyVat stands for a vat that an earlier version did not name. It is no vat's name.
const anyVat VatID = "?"

// isInSteadOf reports whether the kernel rejected the promise in stead of the vat, see inStead.
func (p *promise) isInSteadOf(v VatID) bool { return p.inStead == v || p.inStead == anyVat }

// tie is between the result of a call of a service object, the call, and the vat that called. If that vat loses its
// memory before it is told, the call is cancelled. If the result is a unit of input, it is tied to that unit
// until it is consumed, so that the unit can be given back; see unit.go.
type tie struct {
	// call is the call. Once the promise is a unit of input, the number is that of the unit.
	call CallID
	vat  VatID
	// unit is the class of the unit; empty if the promise is unresolved.
	unit string
}

// member is a vat of a subcluster under its name.
type member struct {
	name string
	vat  VatID
}

// subcluster is the row of a subcluster.
type subcluster struct {
	id        SubID // in the key, not in the row
	state     SubState
	bootstrap VatID
	root      KRef
	members   []member // some members of a leaving subcluster may be removed: see keyLeft
	unstarted uint64   // as keyUnstarted, of vats that an earlier version made
	settled   bool     // bootstrap has settled
	// result is the answer of bootstrap, once known: it may be large, and has a row of its own. Use tx.resultOf. apart
	// says that it has: an earlier version wrote the answer into this row, where it stands until the row is written
	// again.
	result       Data
	known, apart bool
	source, hash string
	why          string // of a failure
	// services counts the service objects that belong to it.
	services uint64
	// system is the name of a system subcluster; empty for others.
	system string
	// replaces is the subcluster that this one replaces, if it is a reload, until it runs.
	replaces SubID
	// by is the call of the kernel facet that launched it, and waits for the launch.
	by CallID
	// guessed says that a salvage knows the subcluster from other rows only.
	guessed bool
}

func (s *subcluster) fields(c *codec) {
	id(c, &s.id)
	number(c, "state", SubTerminating, &s.state)
	text(c, "bootstrap vat", &s.bootstrap)
	text(c, "root", &s.root)
	members(c, "members (list: name, vat, name, vat, …)", &s.members)
	c.uint("vats not yet started", &s.unstarted)
	c.bool("bootstrap settled", &s.settled)
	text(c, "source", &s.source)
	text(c, "hash", &s.hash)
	text(c, "why", &s.why)
	var result Data // stands in a row of its own
	if !s.apart {
		result = s.result
	}
	c.data("what bootstrap answered", &result)
	c.uint("number of its service objects", &s.services)
	text(c, "system name", &s.system)
	text(c, "service object whose call waits for the launch", &s.by.Service)
	c.uint("number of that call", &s.by.N)
	text(c, "subcluster that it replaces", &s.replaces)
	c.later()
	c.bool("whether `result.` exists", &s.apart)
	if c.task == reading {
		s.result, s.known = result, !s.apart
	}
}

func members(c *codec, name string, all *[]member) {
	var flat []string
	for _, m := range *all {
		flat = append(flat, m.name, string(m.vat))
	}
	list(c, name, &flat)
	if c.task == reading {
		for ; len(flat) > 1; flat = flat[2:] {
			*all = append(*all, member{flat[0], VatID(flat[1])})
		}
	}
}

type ticketState uint8

const (
	ticketPending ticketState = iota
	ticketFulfilled
	ticketRejected
	ticketAcknowledged // the answer was let go; the id is remembered
)

// ticket is the row of a host call.
type ticket struct {
	state     ticketState
	hash      string
	promise   KRef
	value     Data
	settledAt int64
}

func (t *ticket) fields(c *codec) {
	number(c, "state", ticketAcknowledged, &t.state)
	text(c, "hash", &t.hash)
	text(c, "promise", &t.promise)
	c.time("time (ms)", &t.settledAt)
	c.data("answer", &t.value)
}

type workKind uint8

const (
	workTell        workKind = iota // tell the subscribers of a settled promise
	workDrain                       // reject the messages parked on a promise that leads nowhere
	workFree                        // delete a promise whose last holder has released it
	workForget                      // remove the transcript of a span that is over
	workRemoveVat                   // remove a dead vat
	workEndServices                 // end the service objects of a subcluster
	workEndService                  // remove a service object
	workBegin                       // begin calls of a service object
	workLoose                       // route the messages that are parked on a promise whose row was lost
	workStranded                    // reject the results of messages that were lost
	workRetire                      // list an orphaned object for the vats that can recognize it
	workSweep                       // list the objects of an earlier version
	workCircles                     // break circles of settled promises that nothing else holds
)

// work is an item of the kernel's own work.
type work struct {
	kind    workKind
	promise KRef
	vat     VatID
	stage   uint8
	after   string // where the last slice ended
	span    uint64 // of workForget
	sub     SubID  // of workEndServices
}

func (w *work) fields(c *codec) {
	number(c, "kind", workCircles, &w.kind)
	text(c, "promise (or object)", &w.promise)
	text(c, "vat", &w.vat)
	number(c, "stage", 255, &w.stage)
	text(c, "after", &w.after)
	c.uint("span", &w.span)
	text(c, "subcluster", &w.sub)
}

// answer is a row with one value: that of a promise, or of a bootstrap.
type answer struct{ value Data }

func (a *answer) fields(c *codec) { c.data("value", &a.value) }

// workRange is the range of the items of the kernel's own work.
type workRange struct{ head, tail uint64 }

func (w *workRange) fields(c *codec) {
	c.uint("head", &w.head)
	c.uint("tail", &w.tail)
}

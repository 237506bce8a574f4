package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
)

// Data is a marshalled value in kernel space.
type Data = capdata.Data[KRef]

// message is a method call in kernel space.
type message struct {
	target   KRef // an object, or the promise that it is parked on
	methArgs Data
	result   KRef   // may be empty
	from     VatID  // who sent it; empty: a host, or the kernel
	inc      uint64 // the incarnation of from that did
}

// size is what a message counts for against the bytes of a queue.
func (m message) size() uint64 { return uint64(dataSize(m.methArgs.Body, len(m.methArgs.Slots))) }

// less takes n from a counter of bytes. What an earlier version queued was not counted, so that it may be short.
func less(counter *uint64, n uint64) { *counter -= min(*counter, n) }

// messageFields is the number of fields of a message in a row.
const messageFields = 6

// object is the row of an object.
type object struct {
	owner VatID // empty: orphaned
	// inc is the incarnation whose memory the object lives in; 0 if the owner's store holds it. Once
	// that incarnation is dead the object reads as orphaned.
	inc     uint64
	revoked bool
	// service says that it is, or was, a service object: the kernel answers for it, and no vat.
	service                 bool
	reachable, recognizable uint64
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
	// decider may settle it; empty while the message whose result it is is in flight, and once settled.
	decider VatID
	// inc is the incarnation whose memory decides it; once that is dead the promise reads as rejected. It
	// is 0 if the decider's store holds what will settle it.
	inc uint64
	// awaitsEnd says that the end of the decider settles it, and nothing that the decider does before. Then inc is 0.
	awaitsEnd bool
	// watcher is the vat that has asked for it with Watch, and of which it counts as one of its watches; empty for others.
	watcher VatID
	refs    uint64
	// subscribers are vats that wait. A settled promise that still has some has not told them yet.
	subscribers []VatID
	// ticket is the host call that waits, launch the subcluster whose bootstrap it is.
	ticket string
	launch SubID
	// head and tail count the messages parked on it.
	head, tail uint64
	// drained says that an item of a queue, or of the kernel's work, stands for the parked messages.
	drained bool
	// inStead is the vat for which the kernel rejected the promise, although the store of that vat still holds what would
	// have settled it. That vat keeps its name for the promise, and its later resolve or keep of it is ignored. It is
	// anyVat if an earlier version wrote the row, which did not say for which vat it was.
	inStead VatID
	// waitsFor is the promise on which the message is parked whose result this is.
	waitsFor KRef
	// asked is what a promise knows that is the result of a call of a service object; zero otherwise.
	asked asked
	// told are the vats in whose queues a notification of it is, each once: a vat that subscribes again meanwhile is
	// told by that one. (Earlier versions kept them only for units of input, and once for each notification.)
	told []VatID
	// watched are the vats whose store waits for it.
	watched []VatID
	// value is that of a settled promise, once known: it has a row of its own, so that who counts a
	// reference to a large value does not write it again. Use tx.value.
	value Data
	known bool
	// size is 1 more than the length of the value's body, slots the number of its references: so that nobody reads a
	// value to find that it is too large. size is 0 if the promise is unresolved, or an earlier version settled it.
	size, slots uint64
	// parkedBytes is the size of the messages parked on it.
	parkedBytes uint64
}

// anyVat stands for a vat of which an earlier version did not say which it was. It is no vat's name.
const anyVat VatID = "?"

// isInSteadOf reports whether the kernel rejected the promise in stead of the vat, see inStead.
func (p *promise) isInSteadOf(v VatID) bool { return p.inStead == v || p.inStead == anyVat }

// asked ties the result of a call of a service object to the call, and, if it is a unit of input, to that
// unit until somebody has got it: should who asked lose its memory before, the call is cancelled, or the
// unit goes back.
type asked struct {
	service KRef
	vat     VatID
	// call is the number of the call while the promise is unresolved, and that of the unit afterwards.
	call uint64
	// unit is the class of the unit; empty if the promise is unresolved.
	unit string
}

// phase is the state of a vat as far as it is durable.
type phase uint8

const (
	live phase = iota
	stopped
	dead
)

// vatRow is what a vat is.
type vatRow struct {
	name   string
	sub    SubID
	root   KRef
	config []byte // cluster's stored form of the vat's configuration
}

// run is how a vat runs: the row that each of its cranks changes.
type run struct {
	id    VatID // in the key, not in the row
	phase phase
	// inc numbers the latest incarnation, deadInc the latest one known to be dead. They are equal when
	// no worker holds memory of this vat.
	inc, deadInc uint64
	// The items of its queue lie between head and tail; items counts them, messages those that count
	// against maxQueue. Some between may have been taken out of turn, and the one at head too, see passHoles.
	head, tail, items, messages uint64
	// queueBytes is the size of those messages.
	queueBytes uint64
	// From rejectAt to below rejectUntil the queue is still to be looked through for messages that were
	// there when the vat was stopped.
	rejectAt, rejectUntil uint64
	// reap is the stage of putting the latest dead incarnation away: 0 when that is done. Until then
	// the vat begins no crank.
	reap uint64
	// reapAfter is how far that stage has come.
	reapAfter string
	// deliveries counts the committed deliveries.
	deliveries uint64
	// importObjects and importPromises are the highest N of o-N and p-N.
	importObjects, importPromises uint64
	// highObject and highPromise are the highest N of o+N and p+N.
	highObject, highPromise uint64
	// attempts and kills count the deaths charged to the item at the position charged, which is the head unless messages
	// were held back; deaths counts those in a row without progress, restarts all of them.
	attempts, kills, charged, deaths, restarts uint64
	// poisoned counts the kept poisoned messages, poisonedBytes is their size.
	poisoned, poisonedBytes uint64
	// Policy, copied from the configuration so that a crank need not read it.
	maxQueue, maxRestarts, maxRecords uint64
	never, stopOnFault                bool
	// span numbers the spans: it advances whenever the vat is quiescent. records and recordBytes are the
	// length of the present one's transcript; spanObject and spanPromise are highObject and highPromise
	// as they were when it began.
	span, records, recordBytes, spanObject, spanPromise uint64
	// spanAt is when its first record was made, in milliseconds.
	spanAt uint64
	// decides counts the promises that the memory of the live incarnation decides, ephemerals the
	// objects in it that somebody can reach.
	decides, ephemerals uint64
	// replays counts the deaths of workers that were replaying the transcript, replayKills those of them that a signal from
	// outside ended, which replays does not count.
	replays, replayKills uint64
	// lost says that the transcript does not hold all of the span: the memory cannot be made again.
	lost bool
	// forgotten says that the vat was started from its durable state because of the item at the position charged.
	forgotten bool
	// started says that StartVat was delivered.
	started bool
	// why tells why the vat was stopped.
	why string
	// watches counts the promises of how vats end that exist and that this vat has asked for, endBytes the size of the
	// values of those that are settled.
	watches, endBytes uint64
}

// attemptsAt returns how many workers ended at the item at a position.
func (u *run) attemptsAt(at uint64) uint64 {
	if u.charged != at {
		return 0
	}
	return u.attempts + u.kills
}

// charge turns to the item at a position. What another item was charged with is forgotten: there is one count.
func (u *run) charge(at uint64) {
	if u.charged != at {
		u.acquit()
		u.charged = at
	}
}

// acquit sets back what the item at the position charged was charged with.
func (u *run) acquit() { u.attempts, u.kills, u.forgotten = 0, 0, false }

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
	members   []member // of one that is leaving, some may be removed: see keyLeft
	unstarted uint64   // as keyUnstarted, of vats that an earlier version made
	settled   bool     // bootstrap has settled
	// result is what bootstrap answered, once known: it may be large, and has a row of its own. Use tx.resultOf. apart says
	// that it has: of a subcluster that an earlier version has written it stands in this row, until that is written.
	result       Data
	known, apart bool
	source, hash string
	why          string // of a failure
	// services counts the service objects that belong to it.
	services uint64
	// system is the name of a system subcluster; empty for others.
	system string
	// replaces is the subcluster whose reload this is, until it runs.
	replaces SubID
	// by and byCall are the call of the kernel facet that launched it, and waits for that.
	by     KRef
	byCall uint64
}

type itemKind uint8

const (
	itemMessage itemKind = iota
	itemNotify           // tell the vat that promise is settled
	itemDrain            // deliver the messages parked on promise
	itemStart            // deliver StartVat
)

// item is an entry of a vat's queue.
type item struct {
	// at is its position; it is in the key, not in the row.
	at      uint64
	kind    itemKind
	from    VatID // the vat whose crank queued it, if one did
	promise KRef
	// msg is the message. Of a notification it is empty, unless the value of the promise has killed the vat too often:
	// then msg.methArgs is what the vat is told instead, as a rejection.
	msg message
}

// isSubstitute reports whether a notification tells the vat something else than the value of the promise.
func (i *item) isSubstitute() bool { return i.kind == itemNotify && i.msg.methArgs.Body != "" }

type ticketState uint8

const (
	ticketPending ticketState = iota
	ticketFulfilled
	ticketRejected
	ticketAcknowledged // answer given and let go; the id is remembered
)

// ticket is the row of a host call.
type ticket struct {
	state     ticketState
	hash      string
	promise   KRef
	value     Data
	settledAt int64
}

type workKind uint8

const (
	workTell        workKind = iota // tell the subscribers of a settled promise
	workDrain                       // reject the messages parked on a promise that leads nowhere
	workFree                        // let go of a promise, the last holder of which was let go
	workForget                      // remove the transcript of a span that is over
	workBury                        // remove a dead vat
	workEndServices                 // end the service objects of a subcluster
	workEndService                  // remove a service object
	workBegin                       // begin calls of a service object
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

func (o *object) encode(r *rowEncoder) []byte {
	return r.row(6, func() {
		r.str(string(o.owner))
		r.uint(o.inc)
		r.bool(o.revoked)
		r.bool(o.service)
		r.uint(o.reachable)
		r.uint(o.recognizable)
	})
}

func (o *object) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 6)
	*o = object{owner: VatID(r.str()), inc: r.uint(), revoked: r.bool(), service: r.bool(), reachable: r.uint(), recognizable: r.uint()}
}

func (p *promise) encode(r *rowEncoder) []byte {
	return r.row(24, func() {
		r.uint(uint64(p.state))
		r.str(string(p.decider))
		r.uint(p.inc)
		r.uint(p.refs)
		list(r, p.subscribers)
		r.str(p.ticket)
		r.str(string(p.launch))
		r.uint(p.head)
		r.uint(p.tail)
		r.bool(p.drained)
		r.str(string(p.waitsFor))
		r.bool(p.inStead != "")
		r.str(string(p.asked.service))
		r.str(string(p.asked.vat))
		r.uint(p.asked.call)
		r.str(p.asked.unit)
		list(r, p.told)
		list(r, p.watched)
		r.uint(p.size)
		r.uint(p.slots)
		r.uint(p.parkedBytes)
		r.bool(p.awaitsEnd)
		r.str(string(p.watcher))
		r.str(string(p.inStead))
	})
}

func (p *promise) decode(r *rowDecoder, key string, b []byte) {
	n := r.openGrown(key, b, 18, 24)
	*p = promise{id: KRef(idIn(key)), state: promiseState(r.uint()), decider: VatID(r.str()), inc: r.uint(), refs: r.uint()}
	p.subscribers = names[VatID](r)
	p.ticket, p.launch = r.str(), SubID(r.str())
	p.head, p.tail, p.drained, p.waitsFor = r.uint(), r.uint(), r.bool(), KRef(r.str())
	if r.bool() {
		p.inStead = anyVat
	}
	p.asked = asked{service: KRef(r.str()), vat: VatID(r.str()), call: r.uint(), unit: r.str()}
	p.told, p.watched = names[VatID](r), names[VatID](r)
	if n > 18 {
		p.size, p.slots, p.parkedBytes = r.uint(), r.uint(), r.uint()
	}
	if n > 21 {
		p.awaitsEnd = r.bool()
	}
	if n > 22 {
		p.watcher = VatID(r.str())
	}
	if n > 23 {
		p.inStead = VatID(r.str())
	}
	if p.state > rejected {
		r.corrupt(fmt.Errorf("state %d", p.state))
	}
}

func (v *vatRow) encode(r *rowEncoder) []byte {
	return r.row(4, func() { r.str(v.name); r.str(string(v.sub)); r.str(string(v.root)); r.bytes(v.config) })
}

func (v *vatRow) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 4)
	*v = vatRow{name: r.str(), sub: SubID(r.str()), root: KRef(r.str()), config: r.bytes()}
}

// counters lists the numbers of a run in the order of its row.
func (u *run) counters() [31]*uint64 {
	return [...]*uint64{
		&u.inc, &u.deadInc, &u.head, &u.tail, &u.items, &u.messages, &u.rejectAt, &u.rejectUntil, &u.deliveries,
		&u.importObjects, &u.importPromises, &u.highObject, &u.highPromise,
		&u.attempts, &u.kills, &u.deaths, &u.restarts, &u.poisoned, &u.maxQueue, &u.maxRestarts, &u.reap,
		&u.span, &u.records, &u.recordBytes, &u.spanObject, &u.spanPromise, &u.decides, &u.ephemerals, &u.replays,
		&u.maxRecords, &u.spanAt,
	}
}

func (u *run) encode(r *rowEncoder) []byte {
	return r.row(45, func() {
		r.uint(uint64(u.phase))
		for _, c := range u.counters() {
			r.uint(*c)
		}
		r.bool(u.never)
		r.bool(u.stopOnFault)
		r.bool(u.started)
		r.bool(u.lost)
		r.bool(u.forgotten)
		r.str(u.why)
		r.str(u.reapAfter)
		r.uint(u.queueBytes)
		r.uint(u.poisonedBytes)
		r.uint(u.watches)
		r.uint(u.endBytes)
		r.uint(u.replayKills)
		r.uint(u.charged)
	})
}

func (u *run) decode(r *rowDecoder, key string, b []byte) {
	n := r.openGrown(key, b, 38, 45)
	*u = run{id: VatID(idIn(key)), phase: phase(r.uint())}
	for _, c := range u.counters() {
		*c = r.uint()
	}
	u.never, u.stopOnFault, u.started, u.lost, u.forgotten = r.bool(), r.bool(), r.bool(), r.bool(), r.bool()
	u.why = r.str()
	if n > 38 {
		u.reapAfter, u.queueBytes, u.poisonedBytes = r.str(), r.uint(), r.uint()
	}
	if n > 41 {
		u.watches, u.endBytes = r.uint(), r.uint()
	}
	if n > 43 {
		u.replayKills = r.uint()
	}
	if u.charged = u.head; n > 44 {
		u.charged = r.uint()
	}
	if u.phase > dead || u.head > u.tail || u.items > u.tail-u.head || (u.items == 0) != (u.head == u.tail) || u.deadInc > u.inc {
		r.corrupt(fmt.Errorf("impossible state"))
	}
}

func (s *subcluster) encode(r *rowEncoder) []byte {
	return r.row(17, func() {
		r.uint(uint64(s.state))
		r.str(string(s.bootstrap))
		r.str(string(s.root))
		r.arr(2 * len(s.members))
		for _, m := range s.members {
			r.str(m.name)
			r.str(string(m.vat))
		}
		r.uint(s.unstarted)
		r.bool(s.settled)
		r.str(s.source)
		r.str(s.hash)
		r.str(s.why)
		if s.apart {
			r.data(Data{})
		} else {
			r.data(s.result)
		}
		r.uint(s.services)
		r.str(s.system)
		r.str(string(s.by))
		r.uint(s.byCall)
		r.str(string(s.replaces))
		r.bool(s.apart)
	})
}

func (s *subcluster) decode(r *rowDecoder, key string, b []byte) {
	n := r.openGrown(key, b, 16, 17)
	*s = subcluster{id: SubID(idIn(key)), state: SubState(r.uint()), bootstrap: VatID(r.str()), root: KRef(r.str())}
	if s.state > SubTerminating {
		r.corrupt(fmt.Errorf("state %d", s.state))
	}
	for range r.arr() / 2 {
		s.members = append(s.members, member{name: r.str(), vat: VatID(r.str())})
	}
	s.unstarted, s.settled = r.uint(), r.bool()
	s.source, s.hash, s.why = r.str(), r.str(), r.str()
	s.result = r.data()
	s.services, s.system, s.by, s.byCall = r.uint(), r.str(), KRef(r.str()), r.uint()
	s.replaces = SubID(r.str())
	s.apart = n > 16 && r.bool()
	s.known = !s.apart
}

func (i *item) encode(r *rowEncoder) []byte {
	return r.row(3+messageFields, func() {
		r.uint(uint64(i.kind))
		r.str(string(i.from))
		r.str(string(i.promise))
		r.message(i.msg)
	})
}

func (i *item) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 3+messageFields)
	*i = item{kind: itemKind(r.uint()), from: VatID(r.str()), promise: KRef(r.str()), msg: r.message()}
	if i.kind > itemStart {
		r.corrupt(fmt.Errorf("item of kind %d", i.kind))
	}
}

func (t *ticket) encode(r *rowEncoder) []byte {
	return r.row(6, func() {
		r.uint(uint64(t.state))
		r.str(t.hash)
		r.str(string(t.promise))
		r.uint(uint64(t.settledAt))
		r.data(t.value)
	})
}

func (t *ticket) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 6)
	*t = ticket{state: ticketState(r.uint()), hash: r.str(), promise: KRef(r.str()), settledAt: int64(r.uint()), value: r.data()}
}

func (w *work) encode(r *rowEncoder) []byte {
	return r.row(7, func() {
		r.uint(uint64(w.kind))
		r.str(string(w.promise))
		r.str(string(w.vat))
		r.uint(uint64(w.stage))
		r.str(w.after)
		r.uint(w.span)
		r.str(string(w.sub))
	})
}

func (w *work) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 7)
	*w = work{kind: workKind(r.uint()), promise: KRef(r.str()), vat: VatID(r.str()), stage: uint8(r.uint()), after: r.str(), span: r.uint(), sub: SubID(r.str())}
}

// poisoned is a message that killed its vat too often, or would not end. It holds its references.
type poisoned struct {
	msg      message // without a result
	attempts uint64
	at       int64
	code     string
	why      string
}

func (p *poisoned) encode(r *rowEncoder) []byte {
	return r.row(4+messageFields, func() {
		r.message(p.msg)
		r.uint(p.attempts)
		r.uint(uint64(p.at))
		r.str(p.code)
		r.str(p.why)
	})
}

func (p *poisoned) decode(r *rowDecoder, key string, b []byte) {
	r.open(key, b, 4+messageFields)
	*p = poisoned{msg: r.message(), attempts: r.uint(), at: int64(r.uint()), code: r.str(), why: r.str()}
}

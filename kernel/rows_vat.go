package kernel

// phase is the durable state of a vat.
type phase uint8

const (
	live phase = iota
	stopped
	dead
)

// vatRow is the part of a vat that does not change while it runs.
type vatRow struct {
	name   string
	sub    SubID
	root   KRef
	config []byte // cluster's stored form of the vat's configuration
}

func (v *vatRow) fields(c *codec) {
	text(c, "name", &v.name)
	text(c, "subcluster", &v.sub)
	text(c, "root (kref)", &v.root)
	c.bytes("configuration (bytes)", &v.config)
}

// run is the row of a vat that each of its cranks changes.
type run struct {
	id     VatID // in the key, not in the row
	phase  phase
	memory memory
	queue  vatQueue
	// names are the highest numbers of names so far.
	names   highest
	charged charged
	policy  policy
	span    span
	// deliveries counts the committed deliveries. deaths counts the deaths in a row without progress, restarts all deaths.
	deliveries, deaths, restarts uint64
	// started says that StartVat was delivered.
	started bool
	// why tells why the vat was stopped.
	why string
	// poisoned counts the poisoned messages that are kept, watches the promises of how vats end that exist and that
	// this vat has made. The bytes of watches are those of the settled ones.
	poisoned struct{ messages, bytes uint64 }
	watches  struct{ count, bytes uint64 }
	looks    lookList
	rounds   rounds
	// decided counts the promises that the vat, or its end, decides. A version that did not count them has written rows
	// in which it is less.
	decided uint64
	// version is the version of the protocol that the vat's last worker spoke; 0 if that is the latest.
	version uint64
}

// memory is the memory of a vat. An incarnation is one life of it: from its start from the durable state until it is
// lost.
type memory struct {
	// inc numbers the latest incarnation, deadInc the latest dead one. They are equal if the vat has no memory.
	inc, deadInc uint64
	// reap is the stage of reaping the latest dead incarnation, reapAfter how far the stage has come. reap is 0 when
	// all stages are done; until then the vat gets no delivery.
	reap      uint64
	reapAfter string
	// decides counts the promises that the memory decides, ephemerals the objects in the memory that are reachable.
	decides, ephemerals uint64
	// owed counts the promises that dead incarnations have decided, and that are not rejected yet.
	owed uint64
	// replays counts the deaths of workers that were replaying the transcript. replayKills counts apart those that a
	// signal from outside caused.
	replays, replayKills uint64
}

// vatQueue is the queue of a vat. Its items lie between head and tail; some positions between them, and the head, may be
// holes: their items were taken out of turn, see passHoles.
type vatQueue struct {
	head, tail uint64
	// items counts the items, messages those of them that count against maxQueue; bytes is the size of these messages.
	items, messages, bytes uint64
	// Positions from rejectAt to below rejectUntil are still to be searched for messages that were queued when the vat
	// was stopped.
	rejectAt, rejectUntil uint64
}

// highest holds the highest numbers of a vat's names: N of o-N, p-N, o+N, p+N.
type highest struct {
	importObjects, importPromises uint64
	objects, promises             uint64
}

// charged counts the deaths that one item of a queue is charged with: the item at the position at, which is the head
// unless messages were held back.
type charged struct {
	at uint64
	// attempts counts the deaths that the item is charged with, kills those by a signal from outside.
	attempts, kills uint64
	// forgotten says that the vat was started from its durable state because of the item.
	forgotten bool
}

// policy is copied from the configuration of a vat, so that a crank need not read that.
type policy struct {
	// maxQueue bounds the messages in the queue, maxRestarts the deaths in a row, maxRecords the transcript.
	maxQueue, maxRestarts, maxRecords uint64
	// never says that the vat is not restarted, stopOnFault that a fault of its code stops it.
	never, stopOnFault bool
	// reapInterval is the number of deliveries after which a round is due, or 0 for the default; noRounds says that
	// there are none but those that somebody orders.
	reapInterval uint64
	noRounds     bool
}

// span is the present span of a vat. It ends, and the next one starts, whenever the vat is at rest.
type span struct {
	number uint64
	// records and bytes are the length of the span's transcript, at is when its first record was made, in milliseconds.
	records, bytes, at uint64
	// objects and promises are the highest o+N and p+N when the span started.
	objects, promises uint64
	// lost says that the transcript does not hold all of the span: the memory cannot be made again.
	lost bool
}

func (u *run) fields(c *codec) {
	id(c, &u.id)
	number(c, "phase", dead, &u.phase)
	c.uint("incarnation", &u.memory.inc)
	c.uint("last dead incarnation", &u.memory.deadInc)
	c.uint("head of the queue", &u.queue.head)
	c.uint("tail of the queue", &u.queue.tail)
	c.uint("items in the queue", &u.queue.items)
	c.uint("messages in the queue that count against its bound", &u.queue.messages)
	c.uint("reject-at", &u.queue.rejectAt)
	c.uint("reject-until", &u.queue.rejectUntil)
	c.uint("deliveries", &u.deliveries)
	c.uint("highest `o-N`", &u.names.importObjects)
	c.uint("highest `p-N`", &u.names.importPromises)
	c.uint("highest `o+N`", &u.names.objects)
	c.uint("highest `p+N`", &u.names.promises)
	c.uint("attempts", &u.charged.attempts)
	c.uint("kills", &u.charged.kills)
	c.uint("deaths in a row without progress", &u.deaths)
	c.uint("deaths altogether", &u.restarts)
	c.uint("poisoned messages kept", &u.poisoned.messages)
	c.uint("bound of the queue", &u.policy.maxQueue)
	c.uint("bound of deaths in a row", &u.policy.maxRestarts)
	c.uint("stage of putting the last dead incarnation away (0: done)", &u.memory.reap)
	c.uint("number of the span", &u.span.number)
	c.uint("records of its transcript", &u.span.records)
	c.uint("bytes of the transcript", &u.span.bytes)
	c.uint("highest `o+N` when the span began", &u.span.objects)
	c.uint("highest `p+N` when the span began", &u.span.promises)
	c.uint("promises that the memory decides", &u.memory.decides)
	c.uint("objects in memory that somebody can reach", &u.memory.ephemerals)
	c.uint("deaths while replaying (but for those by a signal from outside)", &u.memory.replays)
	c.uint("bound of the transcript", &u.policy.maxRecords)
	c.uint("time of the first record (ms)", &u.span.at)
	c.bool("never", &u.policy.never)
	c.bool("stopOnFault", &u.policy.stopOnFault)
	c.bool("started", &u.started)
	c.bool("lost", &u.span.lost)
	c.bool("forgotten", &u.charged.forgotten)
	text(c, "why", &u.why)
	if c.task == reading {
		u.charged.at = u.queue.head // unless the row says otherwise
	}
	c.later()
	text(c, "how far the stage of putting the last dead incarnation away has come", &u.memory.reapAfter)
	c.uint("bytes of the messages that count against the queue's bound", &u.queue.bytes)
	c.uint("bytes of the poisoned messages kept", &u.poisoned.bytes)
	c.later()
	c.uint("promises of how vats end that it has asked for and that exist", &u.watches.count)
	c.uint("bytes of the values of those that are settled", &u.watches.bytes)
	c.later()
	c.uint("deaths by a signal from outside while replaying", &u.memory.replayKills)
	c.later()
	c.uint("position of the item that attempts and kills are of", &u.charged.at)
	c.later()
	c.uint("head of `look.`", &u.looks.head)
	c.uint("tail of `look.`", &u.looks.tail)
	c.uint("other deliveries since the last that told of `look.`", &u.looks.others)
	c.later()
	c.bool("the first round of bring out your dead is over", &u.rounds.first)
	text(c, "how far it has come until then", &u.rounds.cursor)
	c.uint("imports up to this `o-N` were named in a round", &u.rounds.mark)
	c.uint("drops and requests since the last page", &u.rounds.drops)
	c.uint("deliveries up to the last page", &u.rounds.at)
	c.bool("a page is due", &u.rounds.due)
	c.uint("version of the protocol of its worker (0: the latest)", &u.version)
	c.uint("reapInterval (0: the default)", &u.policy.reapInterval)
	c.bool("no rounds but those that are ordered", &u.policy.noRounds)
	c.later()
	c.uint("rows `again.`", &u.rounds.again)
	c.uint("promises that it, or its end, decides", &u.decided)
	c.uint("promises that dead incarnations have decided and that are not rejected yet", &u.memory.owed)
	c.later()
	c.bool("the first round is held anew", &u.rounds.anew)
	c.valid(u.queue.head <= u.queue.tail && u.queue.items <= u.queue.tail-u.queue.head &&
		(u.queue.items == 0) == (u.queue.head == u.queue.tail) && u.looks.head <= u.looks.tail &&
		u.rounds.mark <= u.names.importObjects && u.rounds.at <= u.deliveries && u.memory.deadInc <= u.memory.inc, "impossible state")
}

// attemptsAt returns how many workers ended at the item at a position.
func (u *run) attemptsAt(at uint64) uint64 {
	if u.charged.at != at {
		return 0
	}
	return u.charged.attempts + u.charged.kills
}

// charge turns to the item at a position. The deaths charged to another item are forgotten: there is one count.
func (u *run) charge(at uint64) {
	if u.charged.at != at {
		u.acquit()
		u.charged.at = at
	}
}

// acquit clears the deaths charged to the item at the position charged.at.
func (u *run) acquit() { u.charged.attempts, u.charged.kills, u.charged.forgotten = 0, 0, false }

type itemKind uint8

const (
	itemMessage itemKind = iota
	itemNotify           // tell the vat that promise is settled
	itemDrain            // deliver the messages parked on promise
	itemStart            // deliver StartVat

	// Kinds that are in no queue, and at the position notQueued.
	itemLooks // tell of objects in the vat's list
	itemRound // bring out your dead
)

// item is an entry of a vat's queue.
type item struct {
	// at is its position; it is in the key, not in the row.
	at      uint64
	kind    itemKind
	from    VatID // the vat whose crank queued it, if one did
	promise KRef
	// msg is the message. It is empty for a notification, unless the value of the promise has killed the vat too often:
	// then msg.methArgs is the reason of the rejection that the vat is told instead.
	msg message
}

func (i *item) fields(c *codec) {
	number(c, "kind", itemStart, &i.kind)
	text(c, "from (the vat whose crank queued it, or empty)", &i.from)
	text(c, "promise", &i.promise)
	c.message("message", &i.msg)
}

// isSubstitute reports whether a notification tells the vat a rejection in place of the promise's value.
func (i *item) isSubstitute() bool { return i.kind == itemNotify && i.msg.methArgs.Body != "" }

// poisoned is a message that killed its vat too often, or whose delivery did not end. It holds its references.
type poisoned struct {
	msg      message // without a result
	attempts uint64
	at       int64
	code     string
	why      string
}

func (p *poisoned) fields(c *codec) {
	c.message("message (without result)", &p.msg)
	c.uint("attempts", &p.attempts)
	c.time("time (ms)", &p.at)
	text(c, "code", &p.code)
	text(c, "why", &p.why)
}

// exit is how a vat has ended by itself.
type exit struct {
	rejected bool
	value    Data
}

func (e *exit) fields(c *codec) {
	c.bool("rejected", &e.rejected)
	c.data("value", &e.value)
}

// exchange is a record of a transcript: a delivery, and its answer.
type exchange struct {
	down []byte
	// whole says that up is the frame, and not its hash.
	whole bool
	up    []byte
}

func (e *exchange) fields(c *codec) {
	c.bytes("delivery (a frame, without state)", &e.down)
	c.bool("whole", &e.whole)
	c.bytes("frame that answered it (or, if not whole, its SHA-256)", &e.up)
}

// former is a row of a vat's store as it was before the span first wrote it.
type former struct {
	existed bool
	value   []byte
}

func (f *former) fields(c *codec) {
	c.bool("existed", &f.existed)
	c.bytes("value", &f.value)
}

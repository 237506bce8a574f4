package liveslots

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"ocapkernel.dev/wire"
)

// maxFaultBytes bounds the text of a fault, which has to fit its frame.
const maxFaultBytes = 2000

// Vat is one vat in memory: what it knows of others, its objects, its turns. It belongs to one
// goroutine at a time.
type Vat struct {
	module *Module
	start  wire.Start
	// log is what the vat logs to now: replayLog for the deliveries that are replayed, else liveLog.
	log, liveLog, replayLog hclog.Logger
	delivered               uint64
	codecs                  *codecs
	rows                    *rows
	ids                     ids

	// The crank at hand.
	now      time.Time
	rand     *rand.Rand
	seed     rand.PCG
	syscalls []wire.Syscall
	// sent is about how many bytes the syscalls carry.
	sent int
	exit *leaving
	// notified says that what is taken comes with a notification, and not with a message.
	notified bool
	// announcing are settled promises that the kernel has to be told of, by the names that they have been given.
	announcing []*promise
	// toldPromises and toldBytes count what the kernel was told of settled promises in the crank at hand.
	toldPromises, toldBytes int
	// broken says why no crank can be processed any more.
	broken string

	// Turns and what they wait for.
	tasks []task
	// later are tasks that a crank has left to a later one, untold the promises of which it has left to a later one
	// to tell the kernel, and tellFull says that this crank is such a one; see later.go.
	later    []task
	untold   []*promise
	tellFull bool
	// goneOn counts the tasks with which the crank at hand went on, and mostGoneOn bounds them. ramp is that bound for
	// the next message by which the vat goes on, or 0 for none.
	goneOn, mostGoneOn, ramp int
	current                  atomic.Pointer[turn]
	parked                   map[*turn]struct{}
	idle                     []*coroutine
	// deciding counts promises known to the kernel that this vat's memory has to resolve; unkept those
	// among them that its store was to resolve before.
	deciding, unkept int
	// calls are the calls that wait in memory, and those that did or were stored before the crank at hand.
	calls []*call
	shelf shelf
	// onShelf are calls in the store whose results memory knows, and calls read from it in this crank.
	onShelf map[uint64]*call
	// settledIn are promises that settled in the crank at hand, by their sources, or had before.
	settledIn map[string]*promise
	// woken counts the stored calls that the crank at hand has tried, and mostWoken bounds them. careful says that
	// the delivery at hand has failed before.
	woken, mostWoken int
	careful          bool
	// crowded says that the crank at hand had no room to store all calls that can be stored.
	crowded bool
	// epoch numbers the times that it was found which calls can be stored.
	epoch uint64
	// touched are promises of which the crank at hand may have changed who settles them.
	touched []*promise

	// Names.
	promises map[wire.Ref]*promise
	// losses are answers that were rejected, for which nothing waited.
	losses                  []loss
	imports, own            map[wire.Ref]*presence
	objects                 map[wire.Ref]*head
	lastObject, lastPromise uint64
	// loaded are the durable objects in memory, in the order in which they came there; unfilled those
	// whose state was not read yet.
	loaded, unfilled []*head
	// ephemerals counts ephemeral objects that others may hold.
	ephemerals int

	maxValueBytes int
}

// New makes the vat that start describes. store reads the vat's own rows; only Deliver uses it.
func New(m *Module, start wire.Start, store Store, log hclog.Logger) *Vat {
	if log == nil {
		log = hclog.NewNullLogger()
	}
	if start.MaxFrameBytes <= 0 {
		start.MaxFrameBytes = 4 << 20
	}
	if start.MaxSyscalls <= 0 {
		start.MaxSyscalls = 10_000
	}
	v := &Vat{
		module: m, start: start,
		log: log, liveLog: log, replayLog: log.With("replay", true),
		codecs:        m.codecs.seal(),
		rows:          newRows(store),
		parked:        map[*turn]struct{}{},
		promises:      map[wire.Ref]*promise{},
		imports:       map[wire.Ref]*presence{},
		own:           map[wire.Ref]*presence{},
		objects:       map[wire.Ref]*head{},
		lastObject:    start.HighObject,
		lastPromise:   start.HighPromise,
		maxValueBytes: start.MaxFrameBytes / 2,
	}
	v.ids.v = v
	v.rand = rand.New(&v.seed)
	return v
}

// Deliver processes one delivery: it runs turns until none can go on, and returns everything they asked
// of the kernel. After a Done with a fault the vat is of no use any more.
func (v *Vat) Deliver(d wire.Deliver) wire.Done {
	done := wire.Done{Number: d.Number}
	v.log = v.liveLog
	if v.delivered++; v.delivered <= v.start.Replays {
		v.log = v.replayLog
	}
	if v.broken == "" {
		v.crank(d)
	}
	if v.broken != "" {
		done.Outcome.Fault = v.broken
		return done
	}
	done.Syscalls = v.syscalls
	done.Outcome.Parked = v.waiting()
	return done
}

// waiting counts what waits in memory. If it is 0, and the kernel knows of nothing that this vat's memory
// has to do for others, the vat is at rest.
func (v *Vat) waiting() int {
	n := len(v.parked) + len(v.calls) + v.unkept + len(v.untold)
	if n == 0 && v.ephemerals > 0 {
		// Others may have let go of the objects, and the kernel know that before this vat is told.
		n = 1
	}
	return n
}

// AtRest says whether nothing of the vat lives in memory since its last delivery.
func (v *Vat) AtRest() bool { return v.waiting() == 0 && v.deciding == 0 }

func (v *Vat) crank(d wire.Deliver) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case faultText:
			v.fail(string(r))
		default:
			panic(r) // ours: a turn's own panics are recovered in the turn
		}
	}()
	v.now = time.UnixMilli(d.Now).UTC()
	v.seed.Seed(d.Seed, d.Number)
	v.syscalls, v.sent = nil, 0
	v.woken, v.mostWoken, v.careful = 0, maxWoken, false
	v.goneOn, v.mostGoneOn, v.tellFull = 0, math.MaxInt, false
	v.toldPromises, v.toldBytes = 0, 0
	if d.Attempt > 0 {
		v.beCareful()
	}
	v.rows.prime(d.State)
	v.deliver(d.Delivery)
	v.run()
	if v.broken != "" {
		return
	}
	for v.refuse() && v.broken == "" {
		v.run()
	}
	if v.broken != "" {
		return
	}
	if v.exit != nil {
		v.tellAll()
	}
	v.shelve()
	v.save()
	v.rows.flush(v.syscall)
	if v.exit != nil {
		v.syscall(wire.Exit{Failure: v.exit.failure, Info: v.wireValue(v.exit.info)})
	}
	v.checkSize()
	v.rest()
}

func (v *Vat) syscall(s wire.Syscall) {
	v.syscalls = append(v.syscalls, s)
	switch x := s.(type) {
	case wire.Send:
		v.sent += dataBytes(x.Message.MethArgs)
	case wire.Resolve:
		v.sent += resolutionBytes(x.Resolutions)
	case wire.StoreSet:
		v.sent += len(x.Key) + len(x.Value)
	case wire.StoreDelete:
		v.sent += len(x.Key)
	case wire.Subscribe, wire.Exit, wire.DropImports, wire.RetireImportsCall, wire.RetireExportsCall, wire.AbandonExports, wire.Keep, wire.Watch:
		// small, or alone
	}
}

func dataBytes(d wire.CapData) int {
	n := len(d.Body)
	for _, s := range d.Slots {
		n += len(s)
	}
	return n
}

func resolutionBytes(rs []wire.Resolution) (n int) {
	for _, r := range rs {
		n += dataBytes(r.Value)
	}
	return n
}

func (v *Vat) fail(why string) {
	if v.broken == "" {
		if len(why) > maxFaultBytes {
			why = why[:maxFaultBytes] + "…"
		}
		v.broken = strings.ToValidUTF8(why, "\uFFFD")
	}
}

// checkSize finds a crank that asks for more than the kernel takes, to say so in the vat's own terms.
func (v *Vat) checkSize() {
	if n := len(v.syscalls); n > v.start.MaxSyscalls {
		v.fail(fmt.Sprintf("the crank makes %d syscalls, the limit is %d", n, v.start.MaxSyscalls))
		return
	}
	if v.sent > v.start.MaxFrameBytes {
		v.fail(fmt.Sprintf("the crank sends and stores %d bytes, the limit is %d", v.sent, v.start.MaxFrameBytes))
	}
}

// Close ends the parked turns, whose deferred functions run. It is for programs that hold many vats,
// such as tests; a worker just exits.
func (v *Vat) Close() {
	v.fail("the vat is closed")
	for t := range v.parked {
		v.current.Store(t)
		t.on.stop()
	}
	v.current.Store(nil)
	clear(v.parked)
	for _, c := range v.idle {
		c.stop()
	}
	v.idle = nil
}

// Now is the time of the crank. It does not change while the turn runs, and may jump across an [Await].
func Now(ctx context.Context) time.Time { return running(ctx).v.now }

// Rand is the source of random numbers to use in a vat: it comes with the delivery, so that what the
// vat does can be repeated. It is not for secrets.
func Rand(ctx context.Context) *rand.Rand { return running(ctx).v.rand }

// Log is the vat's logger. What a vat logs reaches the kernel's log with the vat's id and name.
func Log(ctx context.Context) hclog.Logger { return running(ctx).v.log }

// Name is the name of the vat in its cluster's configuration.
func Name(ctx context.Context) string { return running(ctx).v.start.Name }

// Parameters are the vat's parameters in the configuration, which is JSON, as encoding/json reads them
// into a T. A name that T does not have is an error. Without parameters it is the zero T.
func Parameters[T any](ctx context.Context) (T, error) {
	var p T
	err := running(ctx).v.parameters(&p)
	return p, err
}

func (v *Vat) parameters(into any) error {
	if v.start.Parameters == "" {
		return nil
	}
	dec := json.NewDecoder(strings.NewReader(v.start.Parameters))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("parameters: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// Exit ends the vat when the crank ends, and is part of it: what the turn did and does is kept. Info is
// told to whoever asks why.
func Exit(ctx context.Context, info any) {
	v := running(ctx).v
	x, err := v.encodeAny(info)
	if err != nil {
		x = errorValue(err)
	}
	v.leave(x, false)
}

// Fail ends the vat when the crank ends, and drops all that the crank did.
func Fail(ctx context.Context, err error) {
	if err == nil {
		err = errors.New("failed")
	}
	v := running(ctx).v
	v.leave(v.reason(err), true)
}

// leaving is how the vat ends with the crank at hand.
type leaving struct {
	info    value
	failure bool
}

func (v *Vat) leave(info value, failure bool) { v.exit = &leaving{info, failure} }

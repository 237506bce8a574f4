package liveslots

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/wire"
)

// maxFaultBytes bounds the text of a fault, which has to fit its frame.
const maxFaultBytes = 2000

// Vat is one vat in memory: its references to others, its objects, its turns. A Vat belongs to one goroutine at
// a time.
type Vat struct {
	module *Module
	start  wire.Start
	// log is the current logger of the vat: replayLog for deliveries that are replayed, else liveLog.
	log, liveLog, replayLog *slog.Logger
	delivered               uint64
	codecs                  *codecs
	rows                    *rows
	ids                     ids

	// The crank at hand.
	now      time.Time
	rand     *rand.Rand
	seed     rand.PCG
	syscalls []wire.Syscall
	// sent estimates the bytes that the syscalls carry.
	sent int
	exit *leaving
	// notified is set while the values of a notification are read, and not while those of a message are.
	notified bool
	// announcing are settled promises that have a name and whose settlement the kernel must still be told.
	announcing []*promise
	// toldPromises and toldBytes count the settled promises that the kernel was told of in this crank, and
	// their bytes.
	toldPromises, toldBytes int
	// broken is the reason why the vat can process no further crank, or "".
	broken string

	// Turns, and the calls and promises that they wait for.
	tasks []task
	// later are tasks that a crank has left to a later one. untold are promises whose settlement is left to a
	// later crank to tell the kernel, and tellFull is set when this crank tells no more of them; see later.go.
	later    []task
	untold   []*promise
	tellFull bool
	// goneOn counts the tasks with which the crank at hand went on, and mostGoneOn bounds them. ramp is that
	// bound for the next message by which the vat goes on, or 0 for none.
	goneOn, mostGoneOn, ramp int
	current                  atomic.Pointer[turn]
	parked                   map[*turn]struct{}
	idle                     []*coroutine
	// deciding counts the promises known to the kernel that this vat's memory has to resolve. unkept counts
	// those among them that the vat's store was to resolve before.
	deciding, unkept int
	// calls are the calls that wait in memory, and the calls that waited in memory or in the store before this
	// crank.
	calls []*call
	shelf shelf
	// onShelf are, by number, stored calls whose results memory knows, and calls read from the store in this
	// crank.
	onShelf map[uint64]*call
	// settledIn are, by source, the promises of the store that are settled, as far as this crank met them.
	settledIn map[string]*promise
	// woken counts the stored calls that the crank at hand has tried, and mostWoken bounds them. careful is set
	// if an attempt at the delivery at hand has failed before.
	woken, mostWoken int
	careful          bool
	// crowded is set if the crank at hand had no room to store all calls that can be stored.
	crowded bool
	// epoch numbers the passes of judge over the calls; the verdict of a call is good for one epoch.
	epoch uint64
	// touched are promises whose keeper, the stored call that will settle them, may have changed in this crank.
	touched []*promise

	// Names.
	promises map[wire.Ref]*promise
	// losses are answers that were rejected while nothing waited for them.
	losses                  []loss
	imports, own            map[wire.Ref]*presence
	objects                 map[wire.Ref]*head
	lastObject, lastPromise uint64
	// loaded are the durable objects in memory, in the order in which they came there; unfilled are the objects
	// among them whose state is not read yet.
	loaded, unfilled []*head
	// ephemerals counts the ephemeral objects that can be reached from outside of the vat.
	ephemerals int

	tally tally

	maxValueBytes int
}

// New returns the vat that start describes. store reads the vat's own rows; only Deliver uses it.
func New(m *Module, start wire.Start, store Store, log *slog.Logger) *Vat {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if start.MaxFrameBytes <= 0 {
		start.MaxFrameBytes = limits.FrameBytes
	}
	if start.MaxSyscalls <= 0 {
		start.MaxSyscalls = limits.Syscalls
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
		tally:         newTally(),
		maxValueBytes: start.MaxFrameBytes / 2,
	}
	v.ids.v = v
	v.rand = rand.New(&v.seed)
	return v
}

// Deliver processes one delivery: it runs turns until none can go on, and returns all their syscalls. After a
// Done with a fault the vat cannot be used any more.
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

// waiting counts the turns, calls and promises that wait in memory. If waiting is 0, and memory has no promise
// to resolve that the kernel knows, the vat is at rest.
func (v *Vat) waiting() int {
	n := len(v.parked) + len(v.calls) + v.unkept + len(v.untold)
	if n == 0 && v.ephemerals > 0 {
		// The holders may have let go of the objects, and the kernel may know that before this vat is told.
		n = 1
	}
	return n
}

// AtRest reports whether none of the vat's state is in memory only, as of its last delivery.
func (v *Vat) AtRest() bool { return v.waiting() == 0 && v.deciding == 0 }

func (v *Vat) crank(d wire.Deliver) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case faultText:
			v.fail(string(r))
		default:
			panic(r) // a fault of this package: a turn's own panics are recovered in the turn
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
	if v.exit == nil {
		v.countCrank()
	}
	v.rows.flush(v.syscall)
	if v.exit != nil {
		v.syscall(wire.Exit{Failure: v.exit.failure, Info: v.wireValue(v.exit.info)})
	}
	v.checkSize()
	v.rest()
}

func (v *Vat) syscall(s wire.Syscall) {
	v.syscalls = append(v.syscalls, s)
	v.tellNames(s)
	switch x := s.(type) {
	case wire.Send:
		v.sent += dataBytes(x.Message.MethArgs)
	case wire.Resolve:
		v.sent += resolutionBytes(x.Resolutions)
	case wire.StoreSet:
		v.sent += len(x.Key) + len(x.Value)
	case wire.StoreDelete:
		v.sent += len(x.Key)
	case wire.Subscribe, wire.Exit, wire.DropImports, wire.RetireImportsCall, wire.RetireExportsCall, wire.AbandonExports, wire.Keep, wire.Watch,
		wire.Collect:
		// small, or at most one in a crank
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

// checkSize faults a crank that asks for more than the kernel takes, so that the fault is in the vat's own
// terms.
func (v *Vat) checkSize() {
	if n := len(v.syscalls); n > v.start.MaxSyscalls {
		v.fail(fmt.Sprintf("the crank makes %d syscalls, the limit is %d", n, v.start.MaxSyscalls))
		return
	}
	if v.sent > v.start.MaxFrameBytes {
		v.fail(fmt.Sprintf("the crank sends and stores %d bytes, the limit is %d", v.sent, v.start.MaxFrameBytes))
	}
}

// Close ends the parked turns; their deferred functions run. It is for programs that hold many vats, such as
// tests; a worker just exits.
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

// Now returns the time of the crank. It does not change while the turn runs, and may jump across an [Await].
func Now(ctx context.Context) time.Time { return running(ctx).v.now }

// Rand returns the source of random numbers for use in a vat. It comes with the delivery, so that a replay
// draws the same numbers. It is not for secrets.
func Rand(ctx context.Context) *rand.Rand { return running(ctx).v.rand }

// Log returns the vat's logger. Its lines reach the kernel's log with the vat's id and name.
func Log(ctx context.Context) *slog.Logger { return running(ctx).v.log }

// Name returns the name of the vat in its cluster's configuration.
func Name(ctx context.Context) string { return running(ctx).v.start.Name }

// Parameters returns the vat's parameters, which are JSON in the configuration, as encoding/json reads them
// into a T. A name that T does not have is an error. Without parameters it returns the zero T.
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

// Exit ends the vat when the crank ends. The crank is committed: the turn's changes and sends are kept. info is
// the value with which the vat's end is reported, as to [Done].
func Exit(ctx context.Context, info any) {
	v := running(ctx).v
	x, err := v.encodeAny(info)
	if err != nil {
		x = errorValue(err)
	}
	v.leave(x, false)
}

// Fail ends the vat when the crank ends, and drops the whole crank. err is the reason that is reported.
func Fail(ctx context.Context, err error) {
	if err == nil {
		err = errors.New("failed")
	}
	v := running(ctx).v
	v.leave(v.reason(err), true)
}

// leaving is the end of the vat that the crank at hand asks for.
type leaving struct {
	info    value
	failure bool
}

func (v *Vat) leave(info value, failure bool) { v.exit = &leaving{info, failure} }

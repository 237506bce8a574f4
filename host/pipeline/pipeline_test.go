package pipeline_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
	"ocapkernel.dev/host/pipeline"
	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/storage"
)

// gated is a store whose commits wait for the test. Its limits are small.
type gated struct {
	*storage.Mem
	limits  storage.Limits
	gate    chan error // the result of each commit
	largest int        // group so far, in bytes
}

func (g *gated) Limits() storage.Limits { return g.limits }

func (g *gated) Commit(w []storage.Write) error {
	if err := <-g.gate; err != nil {
		return err
	}
	bytes := 0
	for _, row := range w {
		bytes += row.Size()
	}
	g.largest = max(g.largest, bytes)
	return g.Mem.Commit(w)
}

// pass lets n commits pass.
func (g *gated) pass(n int) {
	for range n {
		g.gate <- nil
	}
}

// room reports the shortages that the test sets.
type room struct {
	lacks       atomic.Pointer[string]
	full        atomic.Bool
	descriptors atomic.Bool // are short
}

func (r *room) set(lacks string) { r.lacks.Store(&lacks) }

func (r *room) Lacks() (string, bool) {
	if lacks := r.lacks.Load(); lacks != nil && *lacks != "" {
		return *lacks, r.full.Load()
	}
	return "", false
}

func (r *room) Ready() error {
	if r.descriptors.Load() {
		return errors.New("no descriptors")
	}
	return nil
}

// owner is a pipeline and the names of the commits that have become durable.
type owner struct {
	*pipeline.Pipeline[string]
	t       *testing.T
	store   *gated
	room    *room
	layers  *storage.Layers
	commits uint64
	durable []string
}

func open(t *testing.T) *owner {
	t.Helper()
	o := &owner{t: t, room: &room{}, store: &gated{
		Mem: storage.NewMem(), limits: storage.Limits{Rows: 100, Bytes: 1 << 20}, gate: make(chan error, 1000),
	}}
	o.layers = storage.NewLayers(o.store, 0)
	o.Pipeline = pipeline.New[string](pipeline.Config{Store: o.store, Layers: o.layers, Room: o.room, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() {
		o.room.descriptors.Store(false)
		o.store.pass(10)
		o.Stop()
	})
	return o
}

// took takes the results of a method that returns the durable commits.
func (o *owner) took(durable []string, err error) {
	o.t.Helper()
	o.durable = append(o.durable, durable...)
	if err != nil {
		o.t.Fatal(err)
	}
}

// add applies a commit of some bytes, and holds its name.
func (o *owner) add(name string, bytes int) {
	o.t.Helper()
	o.commits++
	o.took(o.Add(o.commits, []storage.Write{{Key: name, Value: make([]byte, bytes)}}))
	if !o.Hold(name) {
		o.t.Fatalf("%s does not wait although it is not durable", name)
	}
}

// settle makes all durable that was applied.
func (o *owner) settle() {
	o.t.Helper()
	for !o.Idle() {
		o.store.pass(1)
		o.took(o.HandOver())
	}
}

func (o *owner) want(names ...string) {
	o.t.Helper()
	if !slices.Equal(o.durable, names) {
		o.t.Errorf("%q are told to be durable, want %q", o.durable, names)
	}
}

func TestWhatWaitsIsReturnedWhenItIsDurable(t *testing.T) {
	o := open(t)
	if o.Hold("nothing") {
		t.Error("something waits although nothing is applied")
	}
	o.add("a", 10)
	o.add("b", 10)
	o.Flush()
	o.add("c", 10)
	o.want()
	if n := o.Held(); n != 3 {
		t.Errorf("%d wait, want 3", n)
	}
	o.store.pass(1)
	o.took(o.Committed(<-o.Answers()))
	o.want("a", "b")
	if got := o.Durable(); got != 2 {
		t.Errorf("commit %d is the newest durable one, want 2", got)
	}
	if _, found, _ := o.store.Get("c"); found {
		t.Error("what is told later is in the store")
	}
	o.settle()
	o.want("a", "b", "c")
}

func TestWhatIsHeldWithoutACommitOfItsOwnWaitsForTheGroupUnderWay(t *testing.T) {
	o := open(t)
	o.add("a", 10)
	o.Flush()
	if !o.Hold("behind a") {
		t.Fatal("it does not wait although a is not durable")
	}
	o.store.pass(1)
	o.took(o.Committed(<-o.Answers()))
	o.want("a", "behind a")
}

// A commit that finds no room waits for the committer, and the caller of Add gets the values that become durable thereby.
func TestAFullGroupReturnsWhatBecameDurable(t *testing.T) {
	o := open(t)
	o.add("a", 10)
	o.Flush()
	o.store.pass(2)
	for i := range 99 {
		o.add(fmt.Sprint("b", i), 10)
	}
	o.want()
	o.add("c", 10)
	o.add("d", 10)
	o.want("a")
}

func TestNoGroupIsLargerThanATransactionWhateverItsCommitsAre(t *testing.T) {
	for _, sizes := range [][]int{{300, 700}, {499, 900}, {1, 499, 400, 990}, slices.Repeat([]int{100, 800}, 4)} {
		o := open(t)
		o.store.limits.Bytes = 1_000_000
		o.store.pass(100)
		for i, kilobytes := range sizes {
			o.add(strings.Repeat("i", i+1), kilobytes*1000)
			o.took(o.Bound())
		}
		o.settle()
		if o.store.largest > o.store.limits.Bytes {
			t.Errorf("commits of %d kB made a group of %d bytes, above the transaction's %d", sizes, o.store.largest, o.store.limits.Bytes)
		}
	}
}

func TestAGroupAboveHalfATransactionIsHandedOverWhenTheCommitterIsIdle(t *testing.T) {
	o := open(t)
	o.add("a", 600_000)
	o.took(o.Bound())
	o.add("b", 600_000)
	o.took(o.Bound()) // the committer is busy, and nothing waits for it
	o.store.pass(2)
	o.took(o.Committed(<-o.Answers()))
	o.want("a")
	o.Flush()
	o.took(o.Committed(<-o.Answers()))
	o.want("a", "b")
}

func TestAfterACommitThatFailedNothingBecomesDurable(t *testing.T) {
	o := open(t)
	o.add("a", 10)
	o.Flush()
	o.add("b", 10)
	bad := errors.New("the disk is broken")
	o.store.gate <- bad
	durable, err := o.HandOver()
	if !errors.Is(err, bad) || len(durable) > 0 {
		t.Errorf("got %q, %v, want nothing, and %v", durable, err, bad)
	}
	o.Flush()
	if n := len(o.store.gate); n != 0 {
		t.Errorf("%d answers are left", n)
	}
	if rows, _ := o.layers.Size(); rows != 1 {
		t.Errorf("%d rows are not handed over, want that of b", rows)
	}
}

func TestAGroupForWhichNobodyWaitsGrowsForAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		o.store.pass(1)
		o.took(o.Add(1, []storage.Write{{Key: "a", Value: []byte("1"), Fresh: true}}))
		begun := time.Now()
		o.Flush()
		o.took(o.Add(2, []storage.Write{{Key: "a"}})) // a row that is born and dies in the group is not written
		o.Flush()
		<-o.Looks()
		o.Look()
		if d := time.Since(begun); d != 20*time.Millisecond {
			t.Errorf("the group grew for %v", d)
		}
		o.Flush()
		if !o.Idle() {
			o.took(o.Committed(<-o.Answers()))
		}
		if !o.Idle() || o.store.largest != 0 {
			t.Errorf("%d bytes were written of a row that is gone", o.store.largest)
		}
	})
}

// However often the owner flushes while a group grows, the time of that group does not shorten the time of the next one.
func TestEachGroupForWhichNobodyWaitsGrowsForItsOwnMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		o.store.pass(2)
		for commit := range uint64(2) {
			begun := time.Now()
			o.took(o.Add(commit+1, []storage.Write{{Key: "a", Value: []byte("1")}}))
			o.Flush()
			<-time.After(10 * time.Millisecond)
			o.Flush()
			<-o.Looks()
			o.Look()
			if d := time.Since(begun); d != 20*time.Millisecond {
				t.Errorf("the group of commit %d grew for %v, want 20ms", commit+1, d)
			}
			o.Flush()
			o.took(o.Committed(<-o.Answers()))
		}
	})
}

// While something is short, the pipeline asks again by itself, and tells once that nothing is short any more.
func TestWhatIsShortIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		o.room.set("the disk is full")
		o.room.full.Store(true)
		o.CheckRoom()
		if o.Lacks() != "the disk is full" || !o.Full() || o.Eased() {
			t.Errorf("it lacks %q, full: %t", o.Lacks(), o.Full())
		}
		for range 3 {
			begun := time.Now()
			<-o.Looks()
			o.Look()
			if d := time.Since(begun); d != time.Second {
				t.Errorf("asked again after %v, want 1s", d)
			}
		}
		o.room.set("")
		<-o.Looks()
		o.Look()
		if o.Lacks() != "" || o.Full() || !o.Eased() || o.Eased() {
			t.Errorf("it lacks %q; that it is eased is to be told once", o.Lacks())
		}
	})
}

// A commit waits until its shortage is over, and large inputs wait with it.
func TestACommitWaitsForWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		o.room.descriptors.Store(true)
		o.add("a", 10)
		o.Flush()
		<-o.Looks()
		o.Look()
		if !o.Waits() || !strings.Contains(o.Lacks(), "no descriptors") || o.Full() {
			t.Fatalf("the commit does not wait; it lacks %q", o.Lacks())
		}
		for _, name := range []string{"large", "small"} {
			if !o.Enter(10, name) {
				t.Errorf("%s does not wait", name)
			}
		}
		if v, ok := o.Next(); ok {
			t.Errorf("there is room for %s", v)
		}
		o.store.pass(1)
		o.room.descriptors.Store(false)
		o.took(o.Committed(<-o.Answers()))
		o.want("a")
		o.CheckRoom()
		for _, name := range []string{"large", "small"} {
			if v, ok := o.Next(); !ok || v != name {
				t.Errorf("got %q, %t, want %s", v, ok, name)
			}
		}
		if o.Enter(10, "another") {
			t.Error("an input waits although there is room")
		}
	})
}

func TestALargeInputWaitsForTheGroupUnderWay(t *testing.T) {
	o := open(t)
	o.add("a", 10)
	o.Flush()
	o.add("b", 10)
	if !o.Enter(600_000, "large") || !o.Enter(1, "behind it") {
		t.Fatal("it does not wait although the loop would have to")
	}
	if v, ok := o.Next(); ok {
		t.Errorf("there is room for %s", v)
	}
	o.store.pass(2)
	o.took(o.Committed(<-o.Answers()))
	if v, ok := o.Next(); !ok || v != "large" {
		t.Errorf("got %q, %t, want large", v, ok)
	}
}

// In a hurry a commit that lacks something fails after a moment, and all inputs are taken.
func TestNothingWaitsForLongInAHurry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t)
		o.room.descriptors.Store(true)
		o.add("a", 10)
		o.Flush()
		<-o.Looks()
		if !o.Enter(10, "input") {
			t.Fatal("the input does not wait")
		}
		o.Hurry(true)
		if v, ok := o.Next(); !ok || v != "input" {
			t.Errorf("got %q, %t, want the input", v, ok)
		}
		begun := time.Now()
		_, err := o.Committed(<-o.Answers())
		if err == nil || !strings.Contains(err.Error(), "no descriptors") || time.Since(begun) > 3*time.Second {
			t.Errorf("got %v after %v, want that there are no descriptors", err, time.Since(begun))
		}
	})
}

// The witness knows each commit that was told to be durable.
func TestWhatIsToldIsInTheWitness(t *testing.T) {
	path := filepath.Join(t.TempDir(), "witness")
	w := storage.NewWitness(path)
	if err := errors.Join(w.Check(0), w.Prepare()); err != nil {
		t.Fatal(err)
	}
	store := storage.NewMem()
	p := pipeline.New[string](pipeline.Config{Store: store, Layers: storage.NewLayers(store, 0), Witness: w, Log: slog.New(slog.DiscardHandler)})
	if _, err := p.Add(7, []storage.Write{{Key: "a", Value: []byte("1")}}); err != nil {
		t.Fatal(err)
	}
	p.Hold("a")
	p.Flush()
	if durable, err := p.Committed(<-p.Answers()); err != nil || !slices.Equal(durable, []string{"a"}) {
		t.Fatalf("got %q, %v", durable, err)
	}
	p.Stop()
	if err := w.Close(); err != nil || p.Behind() != "" {
		t.Fatal(err, p.Behind())
	}
	if err := storage.NewWitness(path).Check(6); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("a store at commit 6: got %v, want %v", err, storage.ErrRolledBack)
	}
}

// A second after a commit the witness is on the disk: both of its slots know the commit, so that the loss of either loses nothing.
func TestTheWitnessIsSyncedASecondAfterACommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "witness")
		w := storage.NewWitness(path)
		if err := errors.Join(w.Check(0), w.Prepare()); err != nil {
			t.Fatal(err)
		}
		p := witnessed(t, w)
		for commit := uint64(1); commit <= 2; commit++ { // the second is synced as the first
			if _, err := p.Add(commit, []storage.Write{{Key: "a", Value: []byte("1")}}); err != nil {
				t.Fatal(err)
			}
			p.Hold("a")
			p.Flush()
			if _, err := p.Committed(<-p.Answers()); err != nil {
				t.Fatal(err)
			}
			<-time.After(1100 * time.Millisecond)
			synctest.Wait()
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, lost := range [][]byte{file[:len(file)/2], file[len(file)/2:]} {
				whole := slices.Clone(lost)
				clear(lost)
				damaged := filepath.Join(t.TempDir(), "witness")
				if err := os.WriteFile(damaged, file, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := storage.NewWitness(damaged).Check(commit - 1); !errors.Is(err, storage.ErrRolledBack) {
					t.Errorf("a store that lost commit %d, and a witness that lost a slot: got %v, want %v", commit, err, storage.ErrRolledBack)
				}
				copy(lost, whole)
			}
		}
		if err := w.Close(); err != nil || p.Behind() != "" {
			t.Error(err, p.Behind())
		}
	})
}

// A commit is durable although its witness could not be written. The pipeline says why until it has written the witness,
// and tries that each second without a further commit.
func TestAWitnessThatCannotBeWrittenFailsNoCommit(t *testing.T) {
	if !scripttest.Alone(t) {
		return
	}
	synctest.Test(t, func(t *testing.T) {
		w := storage.NewWitness(filepath.Join(t.TempDir(), "witness"))
		if err := w.Prepare(); err != nil {
			t.Fatal(err)
		}
		again := scripttest.SmallFiles(t, 0)
		p := witnessed(t, w)
		if _, err := p.Add(1, []storage.Write{{Key: "a", Value: []byte("1")}}); err != nil {
			t.Fatal(err)
		}
		p.Hold("a")
		p.Flush()
		if durable, err := p.Committed(<-p.Answers()); err != nil || !slices.Equal(durable, []string{"a"}) {
			t.Errorf("got %q, %v, want that a is durable", durable, err)
		}
		if why := p.Behind(); !strings.Contains(why, unix.EFBIG.Error()) {
			t.Errorf("the witness is behind because of %q, want that files cannot grow", why)
		}
		<-time.After(1500 * time.Millisecond)
		synctest.Wait()
		again()
		<-time.After(time.Second)
		synctest.Wait()
		if why := p.Behind(); why != "" {
			t.Errorf("the witness is behind a second after it could be written: %s", why)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// witnessed returns a pipeline of a store in memory that records its commits in w.
func witnessed(t *testing.T, w *storage.Witness) *pipeline.Pipeline[string] {
	t.Helper()
	store := storage.NewMem()
	p := pipeline.New[string](pipeline.Config{Store: store, Layers: storage.NewLayers(store, 0), Witness: w, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(p.Stop)
	return p
}

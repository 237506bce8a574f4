package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/supervisor"
)

// program is the stock worker program, built once.
var program string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "host")
	if err != nil {
		panic(err)
	}
	program = filepath.Join(dir, "vatworker")
	build := exec.Command("go", "build", "-o", program, "ocapkernel.dev/cmd/vatworker")
	build.Env = append(build.Environ(), "CGO_ENABLED=0") // as `make build` does
	build.Stderr = os.Stderr
	code := 1
	if err := build.Run(); err == nil {
		code = m.Run()
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// running is a kernel and the end of its Run.
type running struct {
	*host.Shell
	stop  context.CancelFunc
	ended chan error
}

// start runs a kernel over a store, with real workers.
func start(t *testing.T, store storage.Store, change func(*host.Config)) *running {
	t.Helper()
	workers, err := supervisor.New(supervisor.Config{RunDir: filepath.Join(t.TempDir(), "r"), StockProgram: program})
	if err != nil {
		t.Fatal(err)
	}
	cfg := host.Config{Store: store, Workers: workers}
	if change != nil {
		change(&cfg)
	}
	k, err := host.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Shell: k, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- k.Run(ctx) }()
	t.Cleanup(r.stop)
	return r
}

// end stops the kernel in order.
func (r *running) end(t *testing.T) {
	t.Helper()
	r.stop()
	if err := <-r.ended; err != nil {
		t.Fatal(err)
	}
}

func example(t *testing.T, name string) *cluster.Config {
	t.Helper()
	cfg, err := cluster.Load(filepath.Join("..", "examples", name, "cluster.json"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func launch(t *testing.T, k *running, name string) kernel.Subcluster {
	t.Helper()
	sub, err := k.Launch(t.Context(), example(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return sub
}

// send makes one call and waits for its answer.
func send(ctx context.Context, k *running, id, target, method string, args ...any) (host.Answer, error) {
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		return host.Answer{}, err
	}
	return k.Call(ctx, "", id, target, kernel.Data{Body: body}, true)
}

func TestStateOutlivesTheKernel(t *testing.T) {
	mem := storage.NewMem()
	k := start(t, mem, nil)
	sub := launch(t, k, "pingpong")
	if a, err := send(t.Context(), k, "one", string(sub.ID), "play", 5.0); err != nil || a.Value.Body != "#5" {
		t.Fatalf("got %+v, %v, want 5", a, err)
	}
	k.end(t)
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
	k = start(t, mem, nil)
	if a, err := k.Await(t.Context(), "", "one"); err != nil || a.Value.Body != "#5" {
		t.Fatalf("the kept answer is %+v, %v, want 5", a, err)
	}
	if a, err := send(t.Context(), k, "two", string(sub.ID), "play", 5.0); err != nil || a.Value.Body != "#10" {
		t.Fatalf("got %+v, %v, want 10", a, err)
	}
	k.end(t)
}

func TestTheSameTicketHasOneEffect(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	sub := launch(t, k, "pingpong")
	answers := make(chan string, 8)
	for range 8 {
		go func() {
			a, err := send(t.Context(), k, "same", string(sub.Root), "play", 1.0)
			answers <- fmt.Sprint(a.Value.Body, err)
		}()
	}
	for range 8 {
		if got := <-answers; got != "#1<nil>" {
			t.Errorf("got %s, want #1", got)
		}
	}
	_, err := send(t.Context(), k, "same", string(sub.Root), "play", 2.0)
	var refusal *kernel.Refusal
	if !errors.As(err, &refusal) || refusal.Code != errcode.Conflict {
		t.Errorf("other content under the same ticket: %v, want CONFLICT", err)
	}
	k.end(t)
}

// faulty fails from the n-th commit on.
type faulty struct {
	storage.Store
	left atomic.Int64
}

var errDisk = errors.New("the disk fails")

func (f *faulty) Commit(w []storage.Write) error {
	if f.left.Add(-1) < 0 {
		return errDisk
	}
	return f.Store.Commit(w)
}

func (f *faulty) Close() error { return nil }

// TestAFailedCommitEndsTheProcessAndNothingWasSaid makes each commit of a session fail in turn: Run ends with the error,
// every answer given before is still true after the next start, and the session can be finished then.
func TestAFailedCommitEndsTheProcessAndNothingWasSaid(t *testing.T) {
	passed := false
	for n := int64(0); !passed; n++ {
		if n > 60 {
			t.Fatal("the session does not end")
		}
		mem := storage.NewMem()
		f := &faulty{Store: mem}
		f.left.Store(n)
		k := start(t, f, nil)
		sub, err := k.Launch(t.Context(), example(t, "pingpong"))
		launched := err == nil
		var answered host.Answer
		if launched {
			if answered, err = send(t.Context(), k, "t", string(sub.Root), "play", 2.0); err != nil {
				answered = host.Answer{Pending: true}
			}
		}
		if launched && !answered.Pending {
			passed = true
		} else if err := <-k.ended; !errors.Is(err, errDisk) {
			t.Fatalf("commit %d fails: Run returns %v", n, err)
		}
		if passed {
			k.end(t)
		}

		again := &faulty{Store: mem}
		again.left.Store(1 << 60)
		k = start(t, again, nil)
		st, err := k.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		running := 0
		for _, s := range st.Subclusters {
			if s.State == kernel.SubRunning {
				running++
			}
		}
		if launched != (running == 1) && launched {
			t.Fatalf("commit %d fails: a launch was answered and is gone", n)
		}
		if running == 1 {
			a, err := send(t.Context(), k, "t", string(st.Subclusters[0].Root), "play", 2.0)
			// The turn that played may have been lost with its worker: then the answer says so.
			lost := a.Rejected
			if err != nil || (!lost && a.Value.Body != "#2") {
				t.Fatalf("commit %d fails: after the restart %+v, %v", n, a, err)
			}
		}
		k.end(t)
	}
}

// room is a disk and a table of files that a test fills.
type room struct{ full, closed atomic.Bool }

func (r *room) Lacks() (string, bool) {
	if r.full.Load() {
		return "the disk is full", true
	}
	if err := r.Ready(); err != nil {
		return err.Error(), false
	}
	return "", false
}

func (r *room) Ready() error {
	if r.closed.Load() {
		return syscall.EMFILE
	}
	return nil
}

// played makes a call that waits, and tells how it ends.
func played(k *running, sub kernel.Subcluster) <-chan error {
	answered := make(chan error, 1)
	go func() {
		_, err := k.Call(context.Background(), "", "waits", string(sub.Root), kernel.Data{Body: `#["play",[1]]`}, true)
		answered <- err
	}()
	return answered
}

// paused waits until the kernel says that it lacks something.
func paused(t *testing.T, k *running) host.Status {
	t.Helper()
	for {
		st, err := k.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Pauses) > 0 {
			return st
		}
	}
}

// Without a file that can be opened the store would end at its next log: a commit waits, and so does its answer.
func TestNoDescriptorsIsAPause(t *testing.T) {
	var files room
	k := start(t, storage.NewMem(), func(c *host.Config) { c.Room = &files })
	sub := launch(t, k, "pingpong")
	files.closed.Store(true)
	answered := played(k, sub)
	if st := paused(t, k); st.DiskFull || !strings.Contains(st.Pauses[0], "too many open files") {
		t.Errorf("got %+v", st)
	}
	select {
	case err := <-answered:
		t.Fatalf("accepted, though it was not committed: %v", err)
	default:
	}
	files.closed.Store(false)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	k.end(t)
}

// quota is a store whose disk is found to be full when a commit needs it, and not before.
type quota struct {
	storage.Store
	reached atomic.Bool
}

func (q *quota) Commit(writes []storage.Write) error {
	if q.reached.Load() {
		return fmt.Errorf("commit: %w: disk quota exceeded", storage.ErrNoRoom)
	}
	return q.Store.Commit(writes)
}

// A quota that is reached, or a disk that is full by the time of a commit: the commit waits, the kernel says so, accepts
// nothing new, and goes on by itself.
func TestACommitWithoutRoomIsAPause(t *testing.T) {
	store := &quota{Store: storage.NewMem()}
	k := start(t, store, nil)
	sub, other := launch(t, k, "pingpong"), launch(t, k, "hello")
	store.reached.Store(true)
	answered := played(k, sub)
	if st := paused(t, k); !st.DiskFull || len(st.Pauses) != 1 || !strings.Contains(st.Pauses[0], "disk quota exceeded") {
		t.Errorf("got %+v", st)
	}
	if _, err := k.Call(t.Context(), "", "refused", string(sub.Root), kernel.Data{Body: `#["play",[1]]`}, true); !errors.Is(err, host.ErrDiskFull) {
		t.Errorf("a call meanwhile: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- k.Terminate(context.Background(), other.ID) }()
	if _, err := k.Status(t.Context()); err != nil { // the loop does not wait
		t.Fatal(err)
	}
	select {
	case err := <-answered:
		t.Fatalf("accepted, though it was not committed: %v", err)
	case err := <-ended:
		t.Fatalf("terminated, though it was not committed: %v", err)
	default:
	}
	store.reached.Store(false)
	if err := errors.Join(<-answered, <-ended); err != nil {
		t.Fatal(err)
	}
	if a, err := k.Await(t.Context(), "", "waits"); err != nil || a.Value.Body != "#1" {
		t.Errorf("got %+v, %v", a, err)
	}
	k.end(t)
}

// A stop does not wait for long on a disk that is full: commits without an answer are lost.
func TestAStopOnAFullDisk(t *testing.T) {
	mem := storage.NewMem()
	store := &quota{Store: mem}
	k := start(t, store, nil)
	sub := launch(t, k, "pingpong")
	store.reached.Store(true)
	go func() {
		_, _ = k.Call(context.Background(), "", "lost", string(sub.Root), kernel.Data{Body: `#["play",[1]]`}, true)
	}()
	for {
		if st, err := k.Status(t.Context()); err != nil {
			t.Fatal(err)
		} else if st.DiskFull {
			break
		}
	}
	k.stop()
	if err := <-k.ended; !errors.Is(err, storage.ErrNoRoom) {
		t.Errorf("stop: %v", err)
	}
	if err := mem.Reopen(); err != nil {
		t.Fatal(err)
	}
	store.reached.Store(false)
	k = start(t, store, nil)
	if a, err := send(t.Context(), k, "once", string(sub.Root), "play", 1.0); err != nil || a.Value.Body != "#1" {
		t.Errorf("after the next start: %+v, %v", a, err)
	}
	k.end(t)
}

func TestDiskFullPausesAndTerminateGoesOn(t *testing.T) {
	var disk room
	k := start(t, storage.NewMem(), func(c *host.Config) { c.Room = &disk })
	sub, other := launch(t, k, "pingpong"), launch(t, k, "hello")
	disk.full.Store(true)
	// The group of this call is the one before which the disk is found to be full.
	_, _ = k.Call(t.Context(), "", "last", string(sub.Root), kernel.Data{Body: `#["play",[1]]`}, false)
	if _, err := k.Call(t.Context(), "", "refused", string(sub.Root), kernel.Data{Body: `#["play",[1]]`}, true); !errors.Is(err, host.ErrDiskFull) {
		t.Fatalf("a call on a full disk: %v", err)
	}
	if st, err := k.Status(t.Context()); err != nil || !st.DiskFull || len(st.Pauses) != 1 || st.Pauses[0] != "the disk is full" {
		t.Fatalf("got %+v, %v, want a full disk", st, err)
	}
	if err := k.Terminate(t.Context(), other.ID); err != nil {
		t.Fatalf("terminate on a full disk: %v", err)
	}
	disk.full.Store(false)
	if a, err := k.Await(t.Context(), "", "last"); err != nil || a.Value.Body != "#1" {
		t.Fatalf("with space again: %+v, %v", a, err)
	}
	k.end(t)
}

func TestWorkersBeyondTheTargetArePagedOut(t *testing.T) {
	k := start(t, storage.NewMem(), func(c *host.Config) { c.MaxWorkers = 2 })
	var subs []kernel.Subcluster
	for range 6 {
		subs = append(subs, launch(t, k, "hello"))
	}
	for round := range 3 {
		for i, sub := range subs {
			if a, err := send(t.Context(), k, fmt.Sprint(round, "-", i), string(sub.Root), "hello", "you"); err != nil || a.Rejected {
				t.Fatalf("got %+v, %v", a, err)
			}
		}
	}
	vats, err := k.Vats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	up := 0
	for _, v := range vats {
		if v.Pid != 0 {
			up++
		}
		if v.Restarts != 0 {
			t.Errorf("%s: being paged out counts as %d deaths", v.ID, v.Restarts)
		}
	}
	if up > 3 {
		t.Errorf("%d workers are up, the target is 2", up)
	}
	k.end(t)
}

func TestAKilledWorkerIsReplacedAndNobodyIsCharged(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	sub := launch(t, k, "pingpong")
	for n := range 30 { // more than any bound on deaths
		vats, err := k.Vats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vats {
			if v.Pid != 0 {
				_ = syscall.Kill(v.Pid, syscall.SIGKILL)
			}
			if v.Stopped != "" {
				t.Fatalf("%s was stopped: %s", v.ID, v.Stopped)
			}
		}
		// The turn that plays may die with its worker; a new call is served.
		if _, err := send(t.Context(), k, strconv.Itoa(n), string(sub.Root), "play", 1.0); err != nil {
			t.Fatal(err)
		}
	}
	k.end(t)
}

func TestALaunchThatFailsLeavesNothing(t *testing.T) {
	bad := func(vat string) *cluster.Config {
		text := `{"bootstrap":"a","limits":{"bootstrap":"2s","delivery":"500ms"},"vats":{"a":{"module":"pingpong.ping"},"b":` + vat + `}}`
		cfg, err := cluster.Parse(filepath.Join(t.TempDir(), "c.json"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	mem := storage.NewMem()
	k := start(t, mem, nil)
	script := filepath.Join(t.TempDir(), "w")
	if err := os.WriteFile(script, []byte("#!/bin/sh\nexec sleep 100\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	name, _ := json.Marshal(script)
	for what, vat := range map[string]string{
		"unknown module": `{"module":"no.such"}`,
		"wrong hash":     `{"module":"pingpong.pong","sha256":"0000000000000000000000000000000000000000000000000000000000000000"}`,
		"silent program": `{"module":"pingpong.pong","worker":` + string(name) + `}`,
	} {
		_, err := k.Launch(t.Context(), bad(vat))
		var failed *host.LaunchError
		if !errors.As(err, &failed) {
			t.Errorf("%s: got %v, want a launch error", what, err)
		}
		t.Logf("%s: %v", what, err)
		if vats, err := k.Vats(t.Context()); err != nil || len(vats) != 0 {
			t.Errorf("%s: %d vats are left, %v", what, len(vats), err)
		}
	}
	launch(t, k, "pingpong")
	k.end(t)
}

// TestTranscriptOfABusyVatStaysBounded keeps some turn of a vat waiting at any time: messages are held back now and then,
// so that the vat comes to rest, and no message waits for ever for that.
func TestTranscriptOfABusyVatStaysBounded(t *testing.T) {
	k := start(t, storage.NewMem(), nil)
	sub := launch(t, k, "pingpong")
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	var callers sync.WaitGroup
	var answers, rests atomic.Int64
	for c := range 8 {
		callers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				a, err := send(t.Context(), k, fmt.Sprintf("c%d-%d", c, n), string(sub.Root), "play", 20.0)
				if err != nil || a.Rejected || a.Pending {
					t.Errorf("got %+v, %v", a, err)
					return
				}
				answers.Add(1)
			}
		})
	}
	longest, deliveries := uint64(0), uint64(0)
	for last := uint64(0); ctx.Err() == nil; {
		vats, err := k.Vats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vats {
			if v.Name != "ping" {
				continue
			}
			longest, deliveries = max(longest, v.Records), v.Deliveries
			if v.Records < last {
				rests.Add(1)
			}
			last = v.Records
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	callers.Wait()
	t.Logf("%d answers, %d deliveries, the longest transcript had %d, %d rests seen", answers.Load(), deliveries, longest, rests.Load())
	if longest > 5000 || (deliveries > 5000 && rests.Load() == 0) {
		t.Errorf("the transcript grew to %d of %d deliveries", longest, deliveries)
	}
	if longest < 5 {
		t.Errorf("no turn waited: %d", longest)
	}
	k.end(t)
}

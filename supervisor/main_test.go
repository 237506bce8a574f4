package supervisor_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/vat/grpcvat"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
)

// The test binary is also the worker program, and a kernel to be killed.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(wire.CookieKey) != "", len(os.Args) == 2 && os.Args[1] == wire.ModulesFlag:
		p := worker.Program{Modules: []string{"echo", "rogue"}, New: newVat}
		trick, isTrick := strings.CutPrefix(module(), pluginPrefix)
		switch {
		case isTrick:
			bePlugin(trick)
		case strings.HasPrefix(module(), onStream.prefix()):
			worker.MainOver(streamTransport, p)
		}
		worker.Main(p)
	case len(os.Args) == 3 && os.Args[1] == "be-a-kernel":
		beKernel(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "be-an-echo":
		beEcho()
	}
	scripttest.HearSignals()
	if err := supervisor.AdoptOrphans(); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// module is the name of the module that a worker is told on its command line.
func module() string {
	if len(os.Args) < 3 {
		return ""
	}
	return os.Args[2]
}

// A transport is one of the two ways in which frames travel. The name of a worker's module begins with it.
type transport string

const (
	onDescriptor transport = "descriptor"
	onStream     transport = "stream"
)

func (v transport) prefix() string { return string(v) + "/" }

// overEach runs a test with workers on each transport.
func overEach(t *testing.T, test func(*testing.T, transport)) {
	t.Helper()
	for _, via := range []transport{onDescriptor, onStream} {
		t.Run(string(via), func(t *testing.T) { test(t, via) })
	}
}

// overBoth is overEach, with both at once.
func overBoth(t *testing.T, test func(*testing.T, transport)) {
	t.Helper()
	overEach(t, func(t *testing.T, via transport) {
		t.Parallel()
		test(t, via)
	})
}

// said is the stream of a worker on a stream, so that a vat can send any frame.
var said worker.Frames

func streamTransport(handshake *os.File, log *slog.Logger) (f worker.Frames, err error) {
	said, err = grpcvat.Transport(handshake, log)
	return said, err
}

// say sends bytes, frames with their headers, however malformed. Of a frame that claims to be longer than it is, a stream sends one
// that is as long as a worker may make it, and a byte longer.
func say(raw []byte) {
	if said == nil {
		_, _ = unix.Write(wire.DataFD, raw)
		return
	}
	for len(raw) > 0 {
		n := int(binary.LittleEndian.Uint32(raw)) + wire.HeaderBytes
		if n > len(raw) {
			raw = make([]byte, wire.HeaderBytes+wire.DefaultFrameBytes+1)
			n = len(raw)
		}
		_ = said.Write(raw[:n])
		raw = raw[n:]
	}
}

// newVat makes the vat whose behaviour the module names.
func newVat(s wire.Start, store worker.Store, log *slog.Logger) (worker.Vat, error) {
	switch strings.TrimPrefix(strings.TrimPrefix(s.Module, onStream.prefix()), onDescriptor.prefix()) {
	case "no-hello":
		return nil, errors.New("this vat\ncannot be")
	case "die-early":
		fmt.Fprintln(os.Stderr, "worker: a reason")
		os.Exit(7)
	case "hang-early":
		select {}
	}
	return &vat{store: store, log: log}, nil
}

type vat struct {
	store worker.Store
	log   *slog.Logger
}

// Deliver performs the order in the body of a Call; it answers any other delivery with no syscalls.
func (v *vat) Deliver(d wire.Deliver) wire.Done {
	call, ok := d.Delivery.(wire.Call)
	if !ok {
		return wire.Done{}
	}
	verb, arg, _ := strings.Cut(call.Message.MethArgs.Body, " ")
	switch verb {
	case "echo":
		return wire.Done{Syscalls: []wire.Syscall{wire.Send(call)}}
	case "get":
		value, found, err := v.store.Get(arg)
		return wire.Done{Outcome: wire.Outcome{Fault: fmt.Sprintf("%q %v %v", value, found, err)}}
	case "next":
		key, value, found, err := v.store.Next(arg, arg)
		return wire.Done{Outcome: wire.Outcome{Fault: fmt.Sprintf("%q %q %v %v", key, value, found, err)}}
	case "env":
		return wire.Done{Outcome: wire.Outcome{Fault: v.surroundings()}}
	case "late":
		go func() {
			for {
				if _, _, err := v.store.Get("x"); err != nil {
					fmt.Fprintln(os.Stderr, "late: "+err.Error())
					return
				}
			}
		}()
		return wire.Done{}
	case "panic":
		panic("oh dear")
	case "fault": // of the processor
		var p *int
		*p = 1
	case "signal": // itself
		n, _ := strconv.Atoi(arg)
		_ = unix.Kill(os.Getpid(), unix.Signal(n))
		select {}
	case "ask": // again and again, and reads no answer to its end
		get, _ := wire.AppendUp(nil, wire.Get{Key: arg})
		for {
			say(get)
			_, _ = unix.Read(wire.DataFD, make([]byte, 1)) // the answer has begun to come
		}
	case "leave": // behind a process that has left in the way that is named, and join the group of another
		v.leave(arg)
	case "exit":
		n, _ := strconv.Atoi(arg)
		os.Exit(n)
	case "loop":
		//lint:ignore SA5002 to be busy for ever is what it is for
		for {
		}
	case "sleep":
		select {}
	case "many":
		n, _ := strconv.Atoi(arg)
		return wire.Done{Syscalls: slicesRepeat(wire.StoreDelete{Key: "k"}, n)}
	case "big":
		n, _ := strconv.Atoi(arg)
		return wire.Done{Syscalls: []wire.Syscall{wire.StoreSet{Key: "k", Value: make([]byte, n)}}}
	case "raw": // bytes on the stream, given in hex
		raw, _ := hex.DecodeString(arg)
		say(raw)
		select {}
	case "frame": // a well-formed frame that may be out of place
		say(oddFrame(arg))
		select {}
	case "close": // and live on
		if said != nil {
			said.Close()
		}
		_ = unix.Shutdown(wire.DataFD, unix.SHUT_WR)
		select {}
	case "log":
		v.log.Warn("a warning", "answer", 42, "vat", "v999", "text", "two\nlines")
	case "print":
		fmt.Println("on stdout")
		fmt.Fprintln(os.Stderr, "on stderr\x1b[31m")
	case "flood":
		fd, _ := strconv.Atoi(arg)
		junk := bytes.Repeat([]byte{'x', 0, 0x1b}, 1<<20)
		for range 4 {
			for rest := junk; len(rest) > 0; {
				n, err := unix.Write(fd, rest)
				if err != nil {
					break
				}
				rest = rest[n:]
			}
		}
	case "lines":
		for i := range 20_000 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
	case "forge":
		fmt.Fprintln(os.Stderr, `{"@message":1,"@level":{}}`)
		fmt.Fprintln(os.Stderr, `{"@level":"error","@message":"forged\u001b[2J","vat":"v0","a\nb":"c","n":{"deep":[1]}}`)
		fmt.Fprintln(os.Stderr, `{"@level":"off","@message":"x"}`)
	}
	return wire.Done{}
}

// leave starts a process that is found by its argument, and which hides from the end of the worker. A process that may be
// killed as an orphan before the worker ends makes a file at its start.
func (v *vat) leave(arg string) {
	how, mark, _ := strings.Cut(arg, " ")
	mark, file, _ := strings.Cut(mark, " ")
	sleep := "sleep " + mark
	script := map[string]string{
		"child":   sleep + " & wait",                                                // in the worker's group
		"orphan":  sleep + " & :",                                                   // and its parent ends
		"session": "setsid " + sleep + " & wait",                                    // in a session of its own, below its parent
		"daemon":  "setsid sh -c 'setsid " + sleep + " & :' & wait; : >" + file,     // and an orphan
		"group":   "set -m; " + sleep + " & wait",                                   // in a group of its own
		"many":    "for i in 1 2 3 4 5; do setsid " + sleep + " & done; : >" + file, // several orphans
	}[how]
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	go func() { _ = cmd.Wait() }()
	// The worker itself leaves its group, too. It may not, as the leader of a session, and so does not.
	_ = unix.Setpgid(0, cmd.Process.Pid)
}

func slicesRepeat(s wire.Syscall, n int) []wire.Syscall {
	out := make([]wire.Syscall, n)
	for i := range out {
		out[i] = s
	}
	return out
}

func oddFrame(name string) []byte {
	var f wire.UpFrame
	switch name {
	case "wrong-number":
		f = wire.Done{Number: 77}
	case "hello":
		f = wire.Hello{}
	case "two-gets":
		b, _ := wire.AppendUp(nil, wire.Get{Key: "a"})
		b, _ = wire.AppendUp(b, wire.Get{Key: "b"})
		return b
	case "two-dones":
		b, _ := wire.AppendUp(nil, wire.Done{Number: 1})
		b, _ = wire.AppendUp(b, wire.Done{Number: 1})
		return b
	}
	b, _ := wire.AppendUp(nil, f)
	return b
}

// surroundings lists the variables of the process, and its files beyond descriptors 0 to 4.
func (v *vat) surroundings() string {
	var got []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		got = append(got, name)
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, e := range fds {
		target, _ := os.Readlink("/proc/self/fd/" + e.Name())
		if n, _ := strconv.Atoi(e.Name()); n == 0 || n > 4 {
			got = append(got, "fd:"+target)
		}
	}
	comm, _ := os.ReadFile("/proc/self/comm")
	cwd, _ := os.Getwd()
	got = append(got, "comm:"+strings.TrimSpace(string(comm)), "cwd:"+cwd, "args:"+strings.Join(os.Args, ","))
	return strings.Join(got, " ")
}

// A house is a supervisor with the surroundings of a test.
type house struct {
	*supervisor.Supervisor
	t      testing.TB
	events chan workers.Event
	runDir string
	log    *syncBuffer
	via    transport
}

type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func newHouse(t testing.TB, change ...func(*supervisor.Config)) *house {
	t.Helper()
	dir, err := os.MkdirTemp("", "ok")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	log := &syncBuffer{}
	cfg := supervisor.Config{
		RunDir:       filepath.Join(dir, "run"),
		Logger:       logging.NewText(log, logging.Trace),
		StockProgram: self(t),
	}
	for _, c := range change {
		c(&cfg)
	}
	s, err := supervisor.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{Supervisor: s, t: t, events: make(chan workers.Event, 64), runDir: cfg.RunDir, log: log, via: onDescriptor}
	t.Cleanup(h.close)
	return h
}

// over has the workers of a house on a transport.
func (h *house) over(via transport) *house {
	h.via = via
	return h
}

func (h *house) close() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Close(ctx); err != nil {
		h.t.Errorf("close: %v", err)
	}
	if _, err := os.Stat(h.runDir); !errors.Is(err, os.ErrNotExist) {
		h.t.Errorf("run directory is still there: %v", err)
	}
}

func self(t testing.TB) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

func (h *house) spec(module string) workers.Spec {
	return workers.Spec{Start: wire.Start{Vat: "v1", Name: "alice", Module: h.via.prefix() + module, Incarnation: 1}}
}

// start returns a worker that is ready.
func (h *house) start(spec workers.Spec) workers.Worker {
	h.t.Helper()
	w := h.Start(spec, h.events)
	r := want[workers.Ready](h)
	if r.Worker != w || r.Pid <= 0 || r.Pid != w.Pid() || r.Version != wire.Version {
		h.t.Fatalf("got ready %+v, want one of %p with its pid", r, w)
	}
	return w
}

// want returns the next event, which has to be an E.
func want[E workers.Event](h *house) E {
	h.t.Helper()
	select {
	case e := <-h.events:
		got, ok := e.(E)
		if !ok {
			h.t.Fatalf("got event %T %+v, want a %T\n%s", e, e, got, h.log)
		}
		return got
	case <-time.After(time.Minute):
		h.t.Fatalf("no event\n%s", h.log)
	}
	panic("not reached")
}

func (h *house) wantExit(cause workers.Cause, parts ...string) workers.Exited {
	h.t.Helper()
	e := want[workers.Exited](h)
	if e.Cause != cause {
		h.t.Fatalf("got cause %s (%s), want %s\n%s", e.Cause, e.Detail, cause, h.log)
	}
	for _, p := range parts {
		if !strings.Contains(e.Detail, p) {
			h.t.Errorf("got detail %q, want it to contain %q", e.Detail, p)
		}
	}
	if strings.ContainsFunc(e.Detail, func(r rune) bool { return r < ' ' }) {
		h.t.Errorf("detail %q has control characters", e.Detail)
	}
	return e
}

func call(number uint64, body string) wire.Deliver {
	return wire.Deliver{Number: number, Now: 1, Seed: 2, Delivery: wire.Call{
		Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: body}},
	}}
}

// eventually polls for a condition that no event reports.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("never came: %s", what)
}

func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z")
}

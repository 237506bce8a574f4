package supervisor_test

import (
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/supervisor/sandbox"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// One crank after the other to one worker: the round trip, beside its floor below.
func BenchmarkEcho(b *testing.B) {
	h := newHouse(b)
	w := h.start(h.spec("echo"))
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		w.Deliver(call(n, "echo"))
		if _, ok := (<-h.events).(workers.Done); !ok {
			b.Fatal("worker has ended")
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "cranks/s")
}

// A crank that reads its store once.
func BenchmarkEchoWithGet(b *testing.B) {
	h := newHouse(b)
	w := h.start(h.spec("echo"))
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		w.Deliver(call(n, "get k"))
		if _, ok := (<-h.events).(workers.Read); !ok {
			b.Fatal("worker has ended")
		}
		w.Reply(wire.Row{Key: "k", Value: []byte("v"), Found: true})
		if _, ok := (<-h.events).(workers.Done); !ok {
			b.Fatal("worker has ended")
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "cranks/s")
}

// Two workers, each with a crank in flight, and one goroutine that feeds both.
func BenchmarkEchoTwoWorkers(b *testing.B) {
	h := newHouse(b)
	number := map[workers.Worker]uint64{}
	for range 2 {
		w := h.start(h.spec("echo"))
		number[w] = 1
	}
	for w := range number {
		w.Deliver(call(1, "echo"))
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		done, ok := (<-h.events).(workers.Done)
		if !ok {
			b.Fatal("worker has ended")
		}
		n++
		number[done.Worker]++
		done.Worker.Deliver(call(number[done.Worker], "echo"))
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "cranks/s")
}

// The time from Start to Ready, and to the end of it all.
func BenchmarkStart(b *testing.B) {
	h := newHouse(b)
	for b.Loop() {
		w := h.start(h.spec("echo"))
		w.Kill()
		want[workers.Exited](h)
	}
}

// The floor: as many bytes, between two processes, without anything of ours.
func BenchmarkSocketpairFloor(b *testing.B) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	cmd := exec.Command(self(b), "be-an-echo", "")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		b.Fatal(err)
	}
	_ = ours.Close()
	down, err := wire.AppendDown(nil, call(1, "echo"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := conn.Write(down); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, down); err != nil {
			b.Fatal(err)
		}
	}
	_ = conn.Close()
	_ = cmd.Wait()
}

func beEcho() {
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(wire.DataFD, buf)
		if err != nil || n == 0 {
			os.Exit(0)
		}
		if _, err := unix.Write(wire.DataFD, buf[:n]); err != nil {
			os.Exit(0)
		}
	}
}

// The time from Start to Ready with each mode of confinement, and of a delivery. The modes take turns, and the least time of each
// counts, so that the ratio depends little on what else the machine does.
func BenchmarkConfined(b *testing.B) {
	modes := []sandbox.Mode{sandbox.Off, sandbox.BestEffort, sandbox.Required}
	houses := make([]*house, len(modes))
	for i, mode := range modes {
		houses[i] = newHouse(b, confined(b, mode))
	}
	starts, deliveries := make([]time.Duration, len(modes)), make([]time.Duration, len(modes))
	least := func(d *time.Duration, begin time.Time) {
		if took := time.Since(begin); *d == 0 || took < *d {
			*d = took
		}
	}
	for b.Loop() {
		for i, h := range houses {
			begin := time.Now()
			w := h.start(h.spec("echo"))
			least(&starts[i], begin)
			for n := range uint64(200) {
				begin = time.Now()
				w.Deliver(call(n+1, "echo"))
				want[workers.Done](h)
				least(&deliveries[i], begin)
			}
			w.Kill()
			want[workers.Exited](h)
		}
	}
	for i, mode := range modes {
		b.ReportMetric(float64(starts[i].Microseconds())/1000, mode.String()+"-ms/start")
		b.ReportMetric(float64(deliveries[i].Nanoseconds())/1000, mode.String()+"-µs/delivery")
		if i > 0 {
			b.ReportMetric(float64(starts[i])/float64(starts[0]), mode.String()+"-start-ratio")
			b.ReportMetric(float64(deliveries[i])/float64(deliveries[0]), mode.String()+"-delivery-ratio")
		}
	}
}

// Package bench measures the kernel beside floors that are taken in the same run, so that its figures can
// be read as ratios: a machine's disk and scheduler drift more than the kernel does.
//
//	make bench
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev"
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/supervisor"
)

// program is the stock worker program, built once; programs are that and one with the same vats over gRPC.
var (
	program  string
	programs map[string]string
)

func TestMain(m *testing.M) {
	transportChild()
	ocapkernel.Worker(ioModules)
	if runChild() {
		return
	}
	// As the kernel program does: half of the processors are for the workers.
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.NumCPU()/2))
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	program = filepath.Join(dir, "vatworker")
	programs = map[string]string{"descriptor": program, "grpc": filepath.Join(dir, "testplugin")}
	build := exec.Command("go", "build", "-o", dir+"/", "ocapkernel.dev/cmd/vatworker", "ocapkernel.dev/e2e/testplugin")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return 0, fmt.Errorf("build worker: %w", err)
	}
	return m.Run(), nil
}

// stores are the states that are measured.
var stores = []struct {
	name string
	open func(b *testing.B) storage.Store
}{
	{"memory", func(*testing.B) storage.Store { return storage.NewMem() }},
	{"process", func(b *testing.B) storage.Store { return openBadger(b, badgerstore.Process) }},
	{"power", func(b *testing.B) storage.Store { return openBadger(b, badgerstore.Power) }},
}

func openBadger(b *testing.B, d badgerstore.Durability) storage.Store {
	s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Durability: d})
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// startKernel runs a kernel with one cluster in it, and returns the root.
func startKernel(b *testing.B, store storage.Store, example string, copies int) (*host.Shell, []kernel.Subcluster) {
	workers, err := supervisor.New(supervisor.Config{RunDir: b.TempDir() + "/r", StockProgram: program})
	if err != nil {
		b.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if os.Getenv("BENCH_LOG") != "" {
		log = logging.NewText(os.Stderr, slog.LevelWarn)
	}
	k, err := host.Open(host.Config{Store: store, Workers: workers, Logger: log})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	cfg, err := cluster.Load(filepath.Join("..", "examples", example, "cluster.json"))
	if err != nil {
		b.Fatal(err)
	}
	var subs []kernel.Subcluster
	for range copies {
		sub, err := k.Launch(ctx, cfg)
		if err != nil {
			b.Fatal(err)
		}
		subs = append(subs, sub)
	}
	return k, subs
}

// call sends one call and waits for its answer.
func call(b *testing.B, k *host.Shell, id string, target kernel.KRef, method string, args ...any) host.Answer {
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		b.Fatal(err)
	}
	a, err := k.Call(context.Background(), "", id, string(target), kernel.Data{Body: body}, true)
	if err != nil {
		b.Fatal(err)
	}
	if a.Rejected || a.Pending {
		b.Fatalf("call %s: %+v", id, a)
	}
	return a
}

// BenchmarkPingPong measures a conversation of two vats: each round is four cranks (the ask, the answer,
// and each side's bookkeeping is in them: a message to pong, a notification to ping).
func BenchmarkPingPong(b *testing.B) {
	for _, s := range stores {
		for _, pairs := range []int{1, 4} {
			b.Run(fmt.Sprintf("%s/pairs=%d", s.name, pairs), func(b *testing.B) {
				k, subs := startKernel(b, s.open(b), "pingpong", pairs)
				const rounds = 1000
				n := 0
				before, err := k.Status(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				cpu := selfCPU(b)
				start := time.Now()
				for b.Loop() {
					n++
					done := make(chan struct{})
					for i, sub := range subs {
						go func() {
							call(b, k, fmt.Sprintf("b%d-%d", n, i), sub.Root, "play", float64(rounds))
							done <- struct{}{}
						}()
					}
					for range subs {
						<-done
					}
				}
				took := time.Since(start)
				cpu = selfCPU(b) - cpu
				after, err := k.Status(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				cranks := float64(after.Cranks - before.Cranks)
				b.ReportMetric(cranks/took.Seconds(), "cranks/s")
				b.ReportMetric(took.Seconds()*1e6/cranks, "µs/crank")
				b.ReportMetric(cpu.Seconds()*1e6/cranks, "kernel-cpu-µs/crank")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkRally is the same conversation without anybody waiting: nothing is recorded, since both vats are
// at rest after each crank.
func BenchmarkRally(b *testing.B) {
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			k, subs := startKernel(b, s.open(b), "pingpong", 1)
			cranks := func() uint64 {
				st, err := k.Status(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				return st.Cranks
			}
			before, start := cranks(), time.Now()
			for n := 0; b.Loop(); n++ {
				const strokes = 2000
				from := cranks()
				call(b, k, "r"+strconv.Itoa(n), subs[0].Root, "rally", float64(strokes))
				for cranks() < from+2*strokes { // a message and a notification for each stroke
					<-time.After(time.Millisecond)
				}
			}
			took, n := time.Since(start), float64(cranks()-before)
			b.ReportMetric(n/took.Seconds(), "cranks/s")
			b.ReportMetric(took.Seconds()*1e6/n, "µs/crank")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkRound measures one round of the conversation from outside, each asked for when the last has been
// answered: three cranks, of two vats, until the answer is durable.
func BenchmarkRound(b *testing.B) {
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			k, subs := startKernel(b, s.open(b), "pingpong", 1)
			var lat []time.Duration
			for n := 0; b.Loop(); n++ {
				start := time.Now()
				call(b, k, "o"+strconv.Itoa(n), subs[0].Root, "play", 1.0)
				lat = append(lat, time.Since(start))
			}
			reportLatency(b, lat)
		})
	}
}

// BenchmarkHostCall measures a request from outside until its answer is durable, one at a time.
func BenchmarkHostCall(b *testing.B) {
	for _, s := range stores {
		b.Run(s.name, func(b *testing.B) {
			k, subs := startKernel(b, s.open(b), "hello", 1)
			var lat []time.Duration
			for n := 0; b.Loop(); n++ {
				start := time.Now()
				call(b, k, "h"+strconv.Itoa(n), subs[0].Root, "hello", "you")
				lat = append(lat, time.Since(start))
			}
			reportLatency(b, lat)
		})
	}
}

func reportLatency(b *testing.B, lat []time.Duration) {
	slices.Sort(lat)
	b.ReportMetric(float64(lat[len(lat)/2])/1e3, "µs-p50")
	b.ReportMetric(float64(lat[len(lat)*99/100])/1e3, "µs-p99")
	b.ReportMetric(float64(len(lat))/sum(lat).Seconds(), "calls/s")
	b.ReportMetric(0, "ns/op")
}

func median(lat []time.Duration) time.Duration {
	slices.Sort(lat)
	return lat[len(lat)/2]
}

func sum(lat []time.Duration) (total time.Duration) {
	for _, d := range lat {
		total += d
	}
	return total
}

// selfCPU is the CPU time that this process, which is the kernel here, has used.
func selfCPU(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

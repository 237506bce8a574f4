package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/examples/hello"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/workers/inproc"
)

// manyVats is nearly as many vats as a kernel may have.
const manyVats = 4900

// startMany runs a kernel with so many idle vats, whose workers are in memory: a process for each would be measured instead.
func startMany(b *testing.B, vats int) (*host.Shell, storage.Store, []kernel.Subcluster) {
	program, err := vat.Program(hello.Modules())
	if err != nil {
		b.Fatal(err)
	}
	store := openBadger(b, badgerstore.Process)
	k, err := host.Open(host.Config{Store: store, Workers: inproc.New(inproc.Config{Program: program})})
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
	var subs []kernel.Subcluster
	for vats > 0 {
		n := min(vats, 100)
		subs = append(subs, launchMany(b, k, n))
		vats -= n
	}
	return k, store, subs
}

// launchMany launches a cluster of n vats.
func launchMany(b *testing.B, k *host.Shell, n int) kernel.Subcluster {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"v%d": {"module": "hello"}`, i)
	}
	cfg, err := cluster.Parse("many.json", []byte(`{"bootstrap": "v0", "vats": {`+strings.Join(list, ",")+`}}`))
	if err != nil {
		b.Fatal(err)
	}
	sub, err := k.Launch(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	return sub
}

// BenchmarkManyVats measures what an operator and a client notice of a kernel with thousands of vats. The floor of a list is the
// reading of as many rows of the store, that of a launch or call the same in a kernel with one vat, or with nobody beside it.
func BenchmarkManyVats(b *testing.B) {
	k, store, subs := startMany(b, manyVats)
	small, _, _ := startMany(b, 1)
	ctx := context.Background()
	list := func() {
		if got, err := k.Vats(ctx); err != nil || len(got) < manyVats {
			b.Errorf("%d vats, %v", len(got), err)
		}
	}
	b.Run("list", func(b *testing.B) {
		against(b, list, func() {
			state := store.Freeze()
			defer state.Close()
			rows := 0
			for after, found := "", true; found && rows < 3*manyVats; rows++ {
				var err error
				if after, _, found, err = state.Next("", after); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
	launch := func(k *host.Shell) func() {
		return func() {
			if err := k.Terminate(ctx, launchMany(b, k, 1).ID); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("launch", func(b *testing.B) { against(b, launch(k), launch(small)) })
	b.Run("call-beside-list", func(b *testing.B) {
		n := 0
		one := func() {
			n++
			call(b, k, fmt.Sprint(b.Name(), b.N, "-", n), subs[0].Root, "hello", "you")
		}
		var alone, beside []time.Duration
		for range 200 {
			alone = append(alone, timed(one))
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				select {
				case <-stop:
					return
				default:
					list()
				}
			}
		}()
		for b.Loop() {
			beside = append(beside, timed(one))
		}
		close(stop)
		<-stopped
		report(b, beside, alone)
	})
}

// against measures a function, and a floor in turn with it.
func against(b *testing.B, do, floor func()) {
	var took, least []time.Duration
	for b.Loop() {
		took, least = append(took, timed(do)), append(least, timed(floor))
	}
	report(b, took, least)
}

func timed(do func()) time.Duration {
	start := time.Now()
	do()
	return time.Since(start)
}

func report(b *testing.B, took, floor []time.Duration) {
	b.ReportMetric(float64(median(took).Microseconds())/1e3, "ms-p50")
	b.ReportMetric(float64(median(took))/float64(median(floor)), "floors")
	b.ReportMetric(0, "ns/op")
}

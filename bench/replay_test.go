package bench

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// BenchmarkReplay kills a vat whose one turn has waited a thousand times, and measures how long it takes
// until the next delivery is committed: a process is started, is given a thousand deliveries, each answer
// is compared with the recorded one, and the turn goes on at the same line.
func BenchmarkReplay(b *testing.B) {
	k, subs := startKernel(b, storage.NewMem(), "pingpong", 1)
	ctx := context.Background()
	if _, err := k.Call(ctx, "", "play", string(subs[0].Root), kernel.Data{Body: `#["play",[1000000]]`}, false); err != nil {
		b.Fatal(err)
	}
	ping := func(enough func(host.VatStatus) bool) host.VatStatus {
		for {
			vats, err := k.Vats(ctx)
			if err != nil {
				b.Fatal(err)
			}
			for _, v := range vats {
				if v.Name == "ping" && enough(v) {
					return v
				}
			}
			<-time.After(time.Millisecond) // asking takes time from the measured work
		}
	}
	var records, took float64
	for b.Loop() {
		before := ping(func(v host.VatStatus) bool { return v.Records >= 1000 && v.Pid != 0 && !v.Starting })
		start := time.Now()
		if err := syscall.Kill(before.Pid, syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		// The crank in flight may still be committed: the next process's first delivery is the one after.
		after := ping(func(v host.VatStatus) bool { return v.Pid != 0 && v.Pid != before.Pid && !v.Starting })
		ping(func(v host.VatStatus) bool { return v.Deliveries > after.Deliveries })
		took += time.Since(start).Seconds()
		records += float64(after.Records)
		if after.Lost {
			b.Fatal("the transcript is full")
		}
	}
	b.ReportMetric(records/took, "deliveries/s")
	b.ReportMetric(took*1e6/records, "µs/delivery")
	b.ReportMetric(took*1e6/records, "ms/1000")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkOverlap keeps some turn of a vat waiting at any time, by as many callers as said: how much of
// the throughput goes into holding messages back so that the transcript stays bounded.
func BenchmarkOverlap(b *testing.B) {
	for _, callers := range []int{2, 16} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			k, subs := startKernel(b, storage.NewMem(), "pingpong", 1)
			ctx, stop := context.WithCancel(context.Background())
			defer stop()
			longest := uint64(0)
			answered := make(chan struct{}, callers)
			for c := range callers {
				go func() {
					for n := 0; ctx.Err() == nil; n++ {
						a, err := k.Call(ctx, "", fmt.Sprintf("c%d-%d", c, n), string(subs[0].Root), kernel.Data{Body: `#["play",[5]]`}, true)
						if err != nil || a.Pending || a.Rejected {
							return
						}
						select {
						case answered <- struct{}{}:
						case <-ctx.Done():
						}
					}
				}()
			}
			start := time.Now()
			n := 0
			for b.Loop() {
				for range 200 {
					<-answered
				}
				n += 200
				vats, err := k.Vats(ctx)
				if err != nil {
					b.Fatal(err)
				}
				for _, v := range vats {
					longest = max(longest, v.Records)
				}
			}
			b.ReportMetric(float64(n)/time.Since(start).Seconds(), "calls/s")
			b.ReportMetric(float64(longest), "longest-transcript")
			b.ReportMetric(0, "ns/op")
		})
	}
}

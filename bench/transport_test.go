package bench

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/vat/grpcvat"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/worker"
	"ocapkernel.dev/workers"
)

// transports are the ways in which frames travel; a worker of a transport has its name for a module.
var transports = map[string]worker.Transport{"descriptor": worker.Descriptor, "grpc": grpcvat.Transport}

const transportPrefix = "transport."

// transportChild makes the test binary a worker that answers each delivery with nothing, if it was started as one.
func transportChild() {
	if !worker.IsWorker() || len(os.Args) != 3 {
		return
	}
	if t := transports[strings.TrimPrefix(os.Args[2], transportPrefix)]; t != nil {
		worker.MainOver(t, worker.Program{New: func(wire.Start, worker.Store, *slog.Logger) (worker.Vat, error) { return silent{}, nil }})
	}
}

type silent struct{}

func (silent) Deliver(wire.Deliver) wire.Done { return wire.Done{} }

// BenchmarkTransport measures a delivery of 100 bytes and the frame that answers it, over each transport, beside the floor of
// BenchmarkFloorSocketpair: what goes over it, without codec, deadlines and events. It runs before and after each.
func BenchmarkTransport(b *testing.B) {
	for _, via := range []string{"descriptor", "grpc"} {
		b.Run(via, func(b *testing.B) {
			floor := floorSocketpair(b, 2000)
			w, events := startWorker(b, newSupervisor(b), os.Args[0], transportPrefix+via)
			var lat []time.Duration
			for n := uint64(1); b.Loop(); n++ {
				start := time.Now()
				if err := w.Deliver(wire.Deliver{Number: n, Delivery: wire.Call{
					Target: "o+0", Message: wire.Message{MethArgs: wire.CapData{Body: strings.Repeat("x", 80)}},
				}}); err != nil {
					b.Fatal(err)
				}
				if e, ok := (<-events).(workers.Done); !ok {
					b.Fatalf("got %+v", e)
				}
				lat = append(lat, time.Since(start))
			}
			floor = append(floor, floorSocketpair(b, 2000)...)
			reportLatency(b, lat)
			b.ReportMetric(float64(median(lat))/float64(median(floor)), "floors")
		})
	}
}

// BenchmarkStart measures the start of a worker until it has said hello, and its memory then.
func BenchmarkStart(b *testing.B) {
	for _, via := range []string{"descriptor", "grpc"} {
		b.Run(via, func(b *testing.B) {
			s := newSupervisor(b)
			var lat []time.Duration
			var rss int64
			for b.Loop() {
				start := time.Now()
				w, events := startWorker(b, s, programs[via], "hello")
				lat = append(lat, time.Since(start))
				rss += w.RSSBytes()
				w.Kill()
				<-events
			}
			info, err := os.Stat(programs[via])
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(median(lat))/1e6, "ms-p50")
			b.ReportMetric(float64(rss)/float64(len(lat))/(1<<20), "MiB-rss")
			b.ReportMetric(float64(info.Size())/1e6, "MB-program")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func newSupervisor(b *testing.B) *supervisor.Supervisor {
	s, err := supervisor.New(supervisor.Config{RunDir: b.TempDir() + "/r"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return s
}

// startWorker starts a worker and returns it when it has said hello.
func startWorker(b *testing.B, s *supervisor.Supervisor, program, module string) (workers.Worker, chan workers.Event) {
	events := make(chan workers.Event, 8)
	w := s.Start(workers.Spec{Program: program, Start: wire.Start{Vat: "v1", Module: module}}, events)
	if e, ok := (<-events).(workers.Ready); !ok {
		b.Fatalf("got %+v", e)
	}
	return w, events
}

package badgerstore

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4/options"

	"ocapkernel.dev/storage"
)

// The cost of verifying each block for a read that is in no cache, and the cost of reading everything for a
// start.
func BenchmarkRead(b *testing.B) {
	dir := b.TempDir()
	const rows = 50_000
	key := func(i int) string { return fmt.Sprintf("table.%018d", i) }
	s, err := Open(dir, Options{Durability: Process})
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < rows; i += 1000 {
		var writes []storage.Write
		for j := range 1000 {
			writes = append(writes, storage.Write{Key: key(i + j), Value: make([]byte, 300)})
		}
		if err := s.Commit(writes); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Close(); err != nil { // which makes a table of it
		b.Fatal(err)
	}
	for name, mode := range map[string]options.ChecksumVerificationMode{"verified": options.OnBlockRead, "unverified": options.NoVerification} {
		b.Run(name, func(b *testing.B) {
			db, err := open(badgerOptions(dir, Options{Durability: Process}, new(atomic.Bool)).WithChecksumVerificationMode(mode))
			if err != nil {
				b.Fatal(err)
			}
			internals, err := newInternals(db, dir)
			if err != nil {
				b.Fatal(err)
			}
			s := &Store{db: db, reserve: newReserve(dir), health: newHealth(func() error { return nil }, badBlocks.Load()), internals: internals}
			random := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				if _, found, err := s.Get(key(random.IntN(rows))); !found || err != nil {
					b.Fatal(found, err)
				}
			}
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
	b.Run("examine", func(b *testing.B) {
		for b.Loop() {
			s, err := Examine(dir)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(rows * 340)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The share of a commit that goes to making sure of room for it: blocks for the logs, and a write to each page.
func BenchmarkRoom(b *testing.B) {
	for _, d := range []Durability{Power, Process} {
		for _, rows := range []int{10, 160, 2560} {
			b.Run(fmt.Sprintf("%s/%d", d, rows), func(b *testing.B) {
				s, err := Open(b.TempDir(), Options{Durability: d})
				if err != nil {
					b.Fatal(err)
				}
				var room, commit time.Duration
				writes := make([]storage.Write, rows)
				for n := 0; b.Loop(); n++ {
					for i := range writes {
						writes[i] = storage.Write{Key: fmt.Sprintf("table.%018d", (n*7+i)%100_000), Value: make([]byte, 100)}
					}
					began := time.Now()
					if err := s.makeRoom(writes); err != nil {
						b.Fatal(err)
					}
					made := time.Now()
					if err := s.Commit(writes); err != nil {
						b.Fatal(err)
					}
					room, commit = room+made.Sub(began), commit+time.Since(made)
				}
				b.ReportMetric(float64(room.Nanoseconds())/float64(b.N), "ns/room")
				b.ReportMetric(100*room.Seconds()/commit.Seconds(), "%ofcommit")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

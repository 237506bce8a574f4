package badgerstore

import (
	"fmt"
	"math/rand/v2"
	"testing"

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
			db, err := open(badgerOptions(dir, Options{Durability: Process}).WithChecksumVerificationMode(mode))
			if err != nil {
				b.Fatal(err)
			}
			s := &Store{db: db, reserve: newReserve(dir), health: newHealth(func() error { return nil }, badBlocks.Load())}
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

package badgerstore_test

import (
	"fmt"
	"testing"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

// One commit of a group of cranks, ten rows of 100 bytes each.
func BenchmarkCommit(b *testing.B) {
	for _, d := range []badgerstore.Durability{badgerstore.Power, badgerstore.Process} {
		for _, cranks := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/%d", d, cranks), func(b *testing.B) {
				s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Durability: d})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				n := 0
				for b.Loop() {
					writes := make([]storage.Write, 10*cranks)
					for i := range writes {
						writes[i] = storage.Write{
							Key: fmt.Sprintf("table.%018d", (n*7+i)%100_000), Value: make([]byte, 100),
						}
					}
					if err := s.Commit(writes); err != nil {
						b.Fatal(err)
					}
					n++
				}
				b.ReportMetric(float64(n*cranks)/b.Elapsed().Seconds(), "cranks/s")
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

func BenchmarkGet(b *testing.B) {
	s, err := badgerstore.Open(b.TempDir(), badgerstore.Options{Durability: badgerstore.Process})
	if err != nil {
		b.Fatal(err)
	}
	writes := make([]storage.Write, 10_000)
	for i := range writes {
		writes[i] = storage.Write{Key: fmt.Sprintf("table.%018d", i), Value: make([]byte, 100)}
	}
	if err := s.Commit(writes); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, found, err := s.Get(writes[i%len(writes)].Key); !found || err != nil {
			b.Fatal(found, err)
		}
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

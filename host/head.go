package host

import (
	"fmt"
	"math/rand/v2"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// Head says which state a store holds.
type Head struct {
	// Schema is the version of the schema.
	Schema uint64
	// Epoch identifies the state in tickets.
	Epoch string
	// Commit is the number of the last commit, Cranks the number of deliveries up to it.
	Commit, Cranks uint64
	// Vats and Subclusters are numbers of vats and subclusters, those that are being removed included.
	Vats, Subclusters int
}

// ReadHead describes a state. found is false if a store holds none yet.
func ReadHead(r storage.Reader) (h Head, found bool, err error) {
	m, first, err := kernel.Open(r, (&storage.Mem{}).Limits(), newEpoch(0))
	if err != nil {
		return Head{}, false, fmt.Errorf("open state: %w", err)
	}
	if first.Number != 0 {
		return Head{}, false, nil
	}
	vats, err := m.Vats()
	if err != nil {
		return Head{}, false, err
	}
	subs, err := m.Subclusters()
	if err != nil {
		return Head{}, false, err
	}
	return Head{
		Schema: kernel.SchemaVersion, Epoch: m.Epoch(), Commit: m.CommitNumber(), Cranks: m.Cranks(), Vats: len(vats), Subclusters: len(subs),
	}, true, nil
}

// BeginEpoch has the state in a store begin another epoch, in a commit of its own, and returns what the state is then. The
// tickets of the former epoch are unknown from now on. No kernel may be open on the store.
func BeginEpoch(store storage.Store) (Head, error) {
	m, first, err := kernel.Open(store, store.Limits(), newEpoch(0))
	if err != nil {
		return Head{}, fmt.Errorf("open state: %w", err)
	}
	if first.Number != 0 {
		return Head{}, fmt.Errorf("the store holds no state: %w", storage.ErrCorrupt)
	}
	c, err := m.NewEpoch(newEpoch(rand.Uint64()))
	if err != nil {
		return Head{}, err
	}
	if err := store.Commit(c.Writes); err != nil {
		return Head{}, err
	}
	h, _, err := ReadHead(store)
	return h, err
}

package host_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// rotten is a store of which a table goes bad.
type rotten struct {
	storage.Store
	bad atomic.Bool
}

func (r *rotten) damage() error {
	if r.bad.Load() {
		return fmt.Errorf("read: %w: a table has gone bad", storage.ErrCorrupt)
	}
	return nil
}

func (r *rotten) Get(key string) ([]byte, bool, error) {
	if err := r.damage(); err != nil {
		return nil, false, err
	}
	return r.Store.Get(key)
}

func (r *rotten) Next(prefix, after string) (string, []byte, bool, error) {
	if err := r.damage(); err != nil {
		return "", nil, false, err
	}
	return r.Store.Next(prefix, after)
}

func (r *rotten) Commit(writes []storage.Write) error {
	if err := r.damage(); err != nil {
		return err
	}
	return r.Store.Commit(writes)
}

// A table that goes bad is no trouble of the vat whose rows are read: no row can be trusted, and the kernel ends.
func TestATableThatGoesBadEndsTheKernel(t *testing.T) {
	for name, meet := range map[string]func(k *running, sub kernel.Subcluster){
		"a call": func(k *running, sub kernel.Subcluster) {
			_, _ = k.Call(t.Context(), "", "lost", string(sub.Root), kernel.Data{Body: `#["play",[1]]`}, true)
		},
		"a question": func(k *running, _ kernel.Subcluster) {
			_, _, _, _ = k.Stored(t.Context(), "v1", "", "", 10)
		},
	} {
		store := &rotten{Store: storage.NewMem()}
		k := start(t, store, func(c *host.Config) { c.CacheBytes = 1 })
		sub := launch(t, k, "pingpong")
		store.bad.Store(true)
		meet(k, sub)
		if err := <-k.ended; !errors.Is(err, storage.ErrCorrupt) {
			t.Errorf("%s: the kernel ends with %v", name, err)
		}
	}
}

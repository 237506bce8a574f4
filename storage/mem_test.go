package storage_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/storagetest"
)

func TestMem(t *testing.T) {
	storagetest.Run(t, func(*testing.T) (storage.Store, func() (storage.Store, error)) {
		m := storage.NewMem()
		return m, func() (storage.Store, error) { return m, m.Reopen() }
	})
}

// A Faulty store that never fails is a store.
func TestFaultyWithoutFaults(t *testing.T) {
	storagetest.Run(t, func(*testing.T) (storage.Store, func() (storage.Store, error)) {
		f := storage.NewFaulty(storage.NewMem(), storage.Faults{})
		return f, func() (storage.Store, error) { return f, nil }
	})
}

func TestMemRefusesEverythingAfterClose(t *testing.T) {
	m := storage.NewMem()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, getErr := m.Get("a")
	_, _, _, nextErr := m.Next("", "")
	for name, err := range map[string]error{
		"get": getErr, "next": nextErr, "commit": m.Commit(nil), "close": m.Close(),
	} {
		if err == nil {
			t.Errorf("%s of a closed store succeeded", name)
		}
	}
}

func TestMemSnapshotIsSorted(t *testing.T) {
	m := storage.NewMem()
	if err := m.Commit([]storage.Write{{Key: "b", Value: []byte("2")}, {Key: "a", Value: []byte{}}}); err != nil {
		t.Fatal(err)
	}
	want := []storage.Write{{Key: "a", Value: []byte{}}, {Key: "b", Value: []byte("2")}}
	if diff := cmp.Diff(want, m.Snapshot()); diff != "" {
		t.Error(diff)
	}
}

// The sweep that Faulty is made for: each commit fails once, whole or torn, and the store under it is then in
// the state before, or after.
func TestFaultySweep(t *testing.T) {
	const commits = 5
	for _, torn := range []bool{false, true} {
		for n := 1; ; n++ {
			mem := storage.NewMem()
			f := storage.NewFaulty(mem, storage.Faults{Commit: n, Torn: torn})
			done := 0
			for i := range commits {
				err := f.Commit([]storage.Write{{Key: fmt.Sprint(i), Value: []byte{}}})
				if err == nil {
					done++
				} else if !errors.Is(err, storage.ErrInjected) {
					t.Fatal(err)
				}
			}
			if !f.Fired() {
				if n != commits+1 || done != commits {
					t.Errorf("sweep ended at %d with %d commits", n, done)
				}
				break
			}
			want := n - 1
			if torn {
				want = n
			}
			if got := len(mem.Snapshot()); done != n-1 || got != want {
				t.Errorf("commit %d failed, torn %t: %d succeeded, %d rows, want %d", n, torn, done, got, want)
			}
			if _, _, err := f.Get("0"); !errors.Is(err, storage.ErrInjected) {
				t.Errorf("read after the fault: %v", err)
			}
		}
	}
}

func TestFaultyReads(t *testing.T) {
	f := storage.NewFaulty(storage.NewMem(), storage.Faults{Read: 2})
	if _, _, err := f.Get("a"); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := f.Next("", ""); !errors.Is(err, storage.ErrInjected) {
		t.Errorf("second read: %v", err)
	}
	if err := f.Commit(nil); !errors.Is(err, storage.ErrInjected) {
		t.Errorf("commit after the fault: %v", err)
	}
	if commits, reads := f.Calls(); commits != 1 || reads != 2 {
		t.Errorf("got %d commits, %d reads", commits, reads)
	}
}

// What an operator mends by freeing space, and what is short for another reason.
func TestIsDiskFull(t *testing.T) {
	for _, test := range []struct {
		err  error
		want bool
	}{
		{fmt.Errorf("%w: %w", storage.ErrNoRoom, syscall.ENOSPC), true},
		{fmt.Errorf("%w: %w", storage.ErrNoRoom, syscall.EDQUOT), true},
		{fmt.Errorf("commit: %w", storage.ErrNoRoom), true},
		{fmt.Errorf("%w: %w", storage.ErrNoRoom, syscall.EMFILE), false},
		{fmt.Errorf("%w: %w", storage.ErrNoRoom, syscall.ENFILE), false},
		{fmt.Errorf("%w: %w", storage.ErrNoRoom, syscall.ENOMEM), false},
		{syscall.ENOSPC, false},
		{nil, false},
	} {
		if got := storage.IsDiskFull(test.err); got != test.want {
			t.Errorf("%v: got %t", test.err, got)
		}
	}
}

package backup_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
)

var header = backup.Header{
	Schema: 2, Epoch: "abcd2345", Commit: 77, Cranks: 12, Vats: 3, Subclusters: 1, Taken: time.Unix(1_700_000_000, 0).UTC(), Version: "v1",
}

// state returns a state with rows of many sizes.
func state(t *testing.T, rows int) *storage.Mem {
	t.Helper()
	m := storage.NewMem()
	for i := range rows {
		w := storage.Write{Key: fmt.Sprintf("k.%05d", i*7919%100_000), Value: bytes.Repeat([]byte{byte(i)}, i%300)}
		if i%500 == 499 {
			w.Value = bytes.Repeat([]byte{1}, 300_000)
		}
		if err := m.Commit([]storage.Write{w}); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// encoded returns the backup of a state.
func encoded(t *testing.T, r storage.Reader) []byte {
	t.Helper()
	s, err := backup.NewSource(header, r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// decoded returns the rows of a backup.
func decoded(in io.Reader) (map[string]string, backup.Header, error) {
	r, err := backup.NewReader(in)
	if err != nil {
		return nil, backup.Header{}, err
	}
	out := map[string]string{}
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, r.Header(), nil
		}
		if err != nil {
			return out, r.Header(), err
		}
		out[key] = string(value)
	}
}

func TestBackupHoldsAllRowsAndItsHeader(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 2500} {
		m := state(t, n)
		want := map[string]string{}
		for after := ""; ; {
			key, value, found, err := m.Next("", after)
			if err != nil {
				t.Fatal(err)
			}
			if !found {
				break
			}
			want[key], after = string(value), key
		}
		got, h, err := decoded(iotest.HalfReader(bytes.NewReader(encoded(t, m))))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(header, h); diff != "" {
			t.Errorf("header (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	}
}

func TestBackupThatWasCutOrChangedIsRefused(t *testing.T) {
	t.Parallel()
	whole := encoded(t, state(t, 40))
	for n := range whole {
		if _, _, err := decoded(bytes.NewReader(whole[:n])); !errors.Is(err, backup.ErrDamaged) {
			t.Fatalf("cut at %d of %d: got %v, want ErrDamaged", n, len(whole), err)
		}
	}
	for n := range whole {
		for bit := range 8 {
			changed := bytes.Clone(whole)
			changed[n] ^= 1 << bit
			if _, _, err := decoded(bytes.NewReader(changed)); !errors.Is(err, backup.ErrDamaged) {
				t.Fatalf("bit %d of byte %d changed: got %v, want ErrDamaged", bit, n, err)
			}
		}
	}
	for _, tail := range []string{"x", string(whole)} {
		if _, _, err := decoded(strings.NewReader(string(whole) + tail)); !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("%d bytes behind the end: got %v, want ErrDamaged", len(tail), err)
		}
	}
}

// An error of the disk is not taken for a damage of the backup, nor one of the state for its end.
func TestErrorsOfTheWorldAreNoDamage(t *testing.T) {
	t.Parallel()
	whole, bad := encoded(t, state(t, 40)), errors.New("bad disk")
	for _, n := range []int{0, 10, 30, len(whole) / 2, len(whole) - 5, len(whole)} {
		_, _, err := decoded(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(bad)))
		if !errors.Is(err, bad) || errors.Is(err, backup.ErrDamaged) {
			t.Errorf("an error behind %d bytes: got %v, want it", n, err)
		}
	}
	s, err := backup.NewSource(header, &failing{Reader: state(t, 40), after: 20, err: bad})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := io.ReadAll(s); !errors.Is(err, bad) {
			t.Errorf("got %v, want the error of the state", err)
		}
	}
}

// failing is a state of which not all rows can be read.
type failing struct {
	storage.Reader
	after int
	err   error
}

func (f *failing) Next(prefix, after string) (string, []byte, bool, error) {
	if f.after--; f.after < 0 {
		return "", nil, false, f.err
	}
	return f.Reader.Next(prefix, after)
}

func FuzzReader(f *testing.F) {
	s, err := backup.NewSource(header, storage.NewMem())
	if err != nil {
		f.Fatal(err)
	}
	b, err := io.ReadAll(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("ocapkernel backup 1\n{}\n\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := decoded(bytes.NewReader(b)); err != nil && !errors.Is(err, backup.ErrDamaged) {
			t.Errorf("got %v, want ErrDamaged", err)
		}
	})
}

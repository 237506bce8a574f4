package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
	"ocapkernel.dev/storage/badgerstore"
)

// take asks for the next piece of a backup.
func take(b *Backend, q *control.BackupQuery) (control.BackupPiece, error) {
	p, err := b.Backup(context.Background(), *q)
	if err == nil {
		q.ID = p.ID
		q.Offset += int64(len(p.Piece))
	}
	return p, err
}

// A backup is of the moment at which it began, whatever is committed meanwhile, and of a whole commit.
func TestBackupIsOfOneMoment(t *testing.T) {
	t.Parallel()
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Durability: badgerstore.Process})
	if err != nil {
		t.Fatal(err)
	}
	filled(t, s, 300)
	b := &Backend{}
	b.backups.store = s
	store := &backedUp{s, &b.backups}
	commit := func(n int) {
		var writes []storage.Write
		for i := range 300 {
			writes = append(writes, storage.Write{Key: fmt.Sprintf("s.v1.%04d", i), Value: bytes.Repeat([]byte{byte(n)}, 10_000)})
		}
		if err := store.Commit(writes); err != nil {
			t.Error(err)
		}
	}
	commit(0)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
				commit(n)
			}
		}
	})
	for range 5 {
		var q control.BackupQuery
		var file bytes.Buffer
		for last := false; !last; {
			p, err := take(b, &q)
			if err != nil {
				t.Fatal(err)
			}
			file.Write(p.Piece)
			last = p.Last
		}
		r, err := backup.NewReader(&file)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[byte]int{}
		for {
			key, value, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(value) == 10_000 && key[:2] == "s." {
				seen[value[0]]++
			}
		}
		if len(seen) != 1 {
			t.Errorf("the rows are of the commits %v, want one", seen)
		}
	}
	close(stop)
	wg.Wait()
	if n := len(b.backups.mu.open); n != 0 {
		t.Errorf("%d backups are left", n)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

// A client that does not go on with a backup, or goes on wrongly, keeps no other one from it, and no kernel from its end.
func TestBackupsThatAreNotTaken(t *testing.T) {
	t.Parallel()
	s, err := badgerstore.Open(t.TempDir(), badgerstore.Options{Durability: badgerstore.Process})
	if err != nil {
		t.Fatal(err)
	}
	filled(t, s, 500)
	b := &Backend{}
	b.backups.store = s
	store := &backedUp{s, &b.backups}
	var queries []*control.BackupQuery
	for range mostBackups + 2 {
		q := &control.BackupQuery{}
		if _, err := take(b, q); err != nil {
			t.Fatal(err)
		}
		queries = append(queries, q)
	}
	for i, q := range queries {
		_, err := take(b, q)
		if gone := control.CodeOf(err) == errcode.NotFound; gone != (i < 2) || !gone && err != nil {
			t.Errorf("backup %d of %d, of which %d are kept: %v", i, len(queries), mostBackups, err)
		}
	}
	wrong := control.BackupQuery{ID: queries[3].ID, Offset: 7}
	if _, err := b.Backup(context.Background(), wrong); control.CodeOf(err) != errcode.Conflict {
		t.Errorf("another offset: got %v, want CONFLICT", err)
	}
	if _, err := take(b, queries[3]); err != nil {
		t.Errorf("after a wrong offset: %v", err)
	}
	if _, err := b.Backup(context.Background(), control.BackupQuery{ID: "none"}); control.CodeOf(err) != errcode.NotFound {
		t.Errorf("no such backup: got %v, want NOT_FOUND", err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if _, err := take(b, queries[4]); control.CodeOf(err) != errcode.NotFound {
		t.Errorf("after the end of the kernel: got %v, want NOT_FOUND", err)
	}
	if _, err := take(b, &control.BackupQuery{}); control.CodeOf(err) != errcode.Stopping {
		t.Errorf("a new one after the end of the kernel: got %v, want STOPPING", err)
	}
}

// slowStore is a store whose reads of moments wait, and which notes moments that are open when it is closed.
type slowStore struct {
	storage.Store
	frozen  atomic.Int64
	waits   chan struct{} // closed when a read of a moment waits
	goes    chan struct{} // closed when reads of moments go on
	waiting sync.Once
	left    int64
}

func (s *slowStore) Freeze() storage.Frozen {
	s.frozen.Add(1)
	return &slowMoment{s.Store.Freeze(), s}
}

func (s *slowStore) Close() error {
	s.left = s.frozen.Load()
	return s.Store.Close()
}

type slowMoment struct {
	storage.Frozen
	s *slowStore
}

func (m *slowMoment) Next(prefix, after string) (string, []byte, bool, error) {
	if after >= "s.v1." {
		m.s.waiting.Do(func() { close(m.s.waits) })
		<-m.s.goes
	}
	return m.Frozen.Next(prefix, after)
}

func (m *slowMoment) Close() {
	m.Frozen.Close()
	m.s.frozen.Add(-1)
}

// A piece that takes long to read keeps no other backup waiting, not even the one that takes its place, and the store is closed
// after every moment, whoever lets it go.
func TestASlowBackupKeepsNoOtherWaiting(t *testing.T) {
	t.Parallel()
	mem := storage.NewMem()
	filled(t, mem, 300)
	slow := &slowStore{Store: mem, waits: make(chan struct{}), goes: make(chan struct{})}
	b := &Backend{}
	b.backups.store = slow
	store := &backedUp{slow, &b.backups}
	first, err := b.backups.begin("v1")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, _, err := first.next(0); err != nil {
			t.Errorf("the slow piece: %v", err)
		}
	})
	<-slow.waits
	for range mostBackups { // the last one takes the place of the slow one
		if _, err := b.backups.begin("v1"); err != nil {
			t.Error(err)
		}
	}
	close(slow.goes)
	wg.Wait()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if slow.left != 0 {
		t.Errorf("%d moments were open when the store was closed", slow.left)
	}
}

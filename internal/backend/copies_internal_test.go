package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
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
	b.copies.store = s
	store := &copied{s, &b.copies}
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
	if n := len(b.copies.mu.open); n != 0 {
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
	b.copies.store = s
	store := &copied{s, &b.copies}
	var queries []*control.BackupQuery
	for range mostCopies + 2 {
		q := &control.BackupQuery{}
		if _, err := take(b, q); err != nil {
			t.Fatal(err)
		}
		queries = append(queries, q)
	}
	for i, q := range queries {
		_, err := take(b, q)
		if gone := control.CodeOf(err) == errcode.NotFound; gone != (i < 2) || !gone && err != nil {
			t.Errorf("backup %d of %d, of which %d are kept: %v", i, len(queries), mostCopies, err)
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

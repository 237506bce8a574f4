package ocapkernel_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev"
	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage/backup"
)

// backupOf takes a backup of a kernel that serves clients on dir.
func backupOf(t *testing.T, dir string) []byte {
	t.Helper()
	c, err := control.Dial(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var file bytes.Buffer
	var q control.BackupQuery
	for {
		p, err := c.Backup(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		file.Write(p.Piece)
		if p.Last {
			return file.Bytes()
		}
		q.ID, q.Offset = p.ID, q.Offset+int64(len(p.Piece))
	}
}

// settled returns what became of a ticket, in a backup: the rejection, or nothing while it is pending.
func settled(t *testing.T, file []byte, ticket string) string {
	t.Helper()
	r, err := backup.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	found := "no row"
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if key != "t."+ticket {
			continue
		}
		d, err := kernel.DescribeRow(key, value)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range d.Fields {
			if f.Name == "answer" {
				found, _ = f.Value.(string)
			}
		}
	}
}

// A call of a service that was under way at the moment of the backup is rejected with AMBIGUOUS in the restored state, and
// is not made again.
func TestCallsUnderWayAtABackupAreAmbiguousWhenItIsRestored(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	lab := newLab()
	k := start(t, ocapkernel.Options{Dir: dir, Services: lab.object(t), Control: true})
	sub := k.ensure(t, `["lab"]`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		_, _ = k.CallOnce(ctx, "wait", sub.ID, "ask", "lab", "wait", []any{}) // nobody lets it end
	}()
	if got := <-lab.began; got != "wait" {
		t.Fatalf("%s has begun", got)
	}
	file := backupOf(t, dir)
	r, err := backup.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	ticket := r.Header().Epoch + ".wait"
	if got := settled(t, file, ticket); got != "" {
		t.Errorf("at the backup the call is settled: %s", got)
	}

	copied := filepath.Join(t.TempDir(), "copy")
	if _, err := backend.Restore(t.Context(), copied, bytes.NewReader(file), nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	other := newLab()
	restored := start(t, ocapkernel.Options{Dir: copied, Services: other.object(t), Control: true})
	restored.ensure(t, `["lab"]`)
	if _, err := restored.CallOnce(t.Context(), "count", sub.ID, "ask", "lab", "count", []any{}); err != nil {
		t.Fatal(err)
	}
	if got := settled(t, backupOf(t, copied), ticket); !strings.Contains(got, "AMBIGUOUS") {
		t.Errorf("in the restored state the call has come to %q, want AMBIGUOUS", got)
	}
	select {
	case method := <-other.began:
		t.Errorf("%s was called again", method)
	default:
	}
	restored.end(t)
	cancel()
	<-gone
}

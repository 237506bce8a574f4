package backend

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"sync"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
)

// copies are the backups that clients are taking of a running kernel.
//
// A backup is of the state as it is in the store at one moment: of everything that is durable, and of nothing that a death of
// the kernel could still take back. So the loop of the kernel has no part in it. A client takes a backup piece by piece; in
// between nothing is done for it, and nothing is held but the moment, which is a number: the database keeps the rows that
// are overwritten meanwhile. So that these do not pile up, a backup is given up when its client has not asked for the next
// piece for [copyIdle].
type copies struct {
	store storage.Store
	mu    struct {
		sync.Mutex
		open   map[string]*backupCopy
		closed bool
	}
}

const (
	// mostCopies is the number of backups that are taken at a time. One more takes the place of the one that is idle the
	// longest.
	mostCopies = 4
	// copyIdle is how long a client may take between two pieces: a disk that writes a MiB in that time is alive.
	copyIdle = 60 * time.Second
	// pieceBytes is the length of a piece. As JSON it is a third longer, well below the bound of a line.
	pieceBytes = 1 << 20
)

// backupCopy is one backup.
type backupCopy struct {
	id    string
	timer *time.Timer

	mu struct {
		sync.Mutex
		frozen storage.Frozen // nil when the backup is over
		source *backup.Source
		offset int64
		used   time.Time
	}
}

// begin freezes the state and begins a backup.
func (c *copies) begin(version string) (*backupCopy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, coded(host.ErrStopping)
	}
	if c.mu.open == nil {
		c.mu.open = map[string]*backupCopy{}
	}
	for len(c.mu.open) >= mostCopies {
		var idlest *backupCopy
		for _, other := range c.mu.open {
			if idlest == nil || other.since().Before(idlest.since()) {
				idlest = other
			}
		}
		delete(c.mu.open, idlest.id)
		idlest.close()
	}
	frozen := c.store.Freeze()
	source, err := BackupOf(frozen, version)
	if err != nil {
		frozen.Close()
		return nil, err
	}
	b := &backupCopy{id: rand.Text()}
	b.mu.frozen, b.mu.source, b.mu.used = frozen, source, time.Now()
	b.timer = time.AfterFunc(copyIdle, func() { c.end(b.id) })
	c.mu.open[b.id] = b
	return b, nil
}

// BackupOf returns a backup of the state that rows hold, as a stream that reads the rows while it is read. version is that of
// the program. The error is errcode.NotFound if there is no state yet.
func BackupOf(rows storage.Reader, version string) (*backup.Source, error) {
	h, found, err := host.ReadHead(rows)
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, control.Errorf(errcode.NotFound, "there is no state yet")
	}
	return backup.NewSource(backup.Header{
		Schema: h.Schema, Epoch: h.Epoch, Commit: h.Commit, Cranks: h.Cranks, Vats: h.Vats, Subclusters: h.Subclusters,
		Taken: time.Now().UTC().Truncate(time.Second), Version: version,
	}, rows)
}

// find returns the backup of an id; nil if there is none, or none any more.
func (c *copies) find(id string) *backupCopy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.open[id]
}

// end gives a backup up.
func (c *copies) end(id string) {
	c.mu.Lock()
	b := c.mu.open[id]
	delete(c.mu.open, id)
	c.mu.Unlock()
	if b != nil {
		b.close()
	}
}

// close gives all backups up. None begins later.
func (c *copies) close() {
	c.mu.Lock()
	c.mu.closed = true
	open := c.mu.open
	c.mu.open = nil
	c.mu.Unlock()
	for _, b := range open {
		b.close()
	}
}

// since returns the time at which the client has asked for the last piece.
func (b *backupCopy) since() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.used
}

// close lets the state go. It waits for a piece that is being read.
func (b *backupCopy) close() {
	b.timer.Stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.frozen != nil {
		b.mu.frozen.Close()
		b.mu.frozen = nil
	}
}

// next returns the piece at an offset, which is the one behind the last piece. last says that it is the last one.
func (b *backupCopy) next(offset int64) (piece []byte, last bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.mu.frozen == nil:
		return nil, false, errGivenUp()
	case offset != b.mu.offset:
		return nil, false, control.Errorf(errcode.Conflict, "the next piece of the backup begins at %d, not at %d", b.mu.offset, offset)
	}
	b.timer.Reset(copyIdle)
	b.mu.used = time.Now()
	piece = make([]byte, pieceBytes)
	n, err := io.ReadFull(b.mu.source, piece)
	b.mu.offset += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return piece[:n], true, nil
	}
	return piece[:n], false, err
}

func errGivenUp() error {
	return control.Errorf(errcode.NotFound, "there is no such backup, or it was given up, since nobody asked for its next piece for %v: begin another one", copyIdle)
}

// Backup implements [control.Backend].
func (b *Backend) Backup(_ context.Context, q control.BackupQuery) (control.BackupPiece, error) {
	c := b.copies.find(q.ID)
	if q.ID == "" {
		var err error
		if c, err = b.copies.begin(b.opts.Version); err != nil {
			return control.BackupPiece{}, err
		}
	}
	if c == nil {
		return control.BackupPiece{}, errGivenUp()
	}
	piece, last, err := c.next(q.Offset)
	if last || err != nil && control.CodeOf(err) != errcode.Conflict {
		b.copies.end(c.id)
	}
	return control.BackupPiece{ID: c.id, Piece: piece, Last: last}, err
}

// copied is a store of which backups are taken. They are given up before it is closed.
type copied struct {
	storage.Store
	copies *copies
}

// Step implements [storage.Stepper].
func (s *copied) Step(prefix, after string, most int) (key string, value []byte, found, ready bool, err error) {
	return storage.Step(s.Store, prefix, after, most)
}

// Close implements [storage.Store].
func (s *copied) Close() error {
	s.copies.close()
	return s.Store.Close()
}

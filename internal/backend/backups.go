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
	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
)

// backups are the backups that clients are taking of a running kernel.
//
// A backup is of the state as it is in the store at one moment: of everything that is durable, and of nothing that a death of
// the kernel could still take back. So the loop of the kernel has no part in it. A client takes a backup piece by piece; in
// between nothing is done for it, and nothing is held but the moment, which is a number: the database keeps the rows that
// are overwritten meanwhile. So that these do not pile up, a backup is given up when its client has not asked for the next
// piece for [backupIdle].
type backups struct {
	store storage.Store
	// taking counts the backups that hold a moment, or are about to. The store is closed when there are none.
	taking sync.WaitGroup
	mu     struct {
		sync.Mutex // no other lock is taken while it is held, and nothing is read
		open       map[string]*openBackup
		closed     bool
	}
}

const (
	// mostBackups is the number of backups that are taken at a time. One more takes the place of the one that is idle the
	// longest.
	mostBackups = 4
	// backupIdle is how long a client may take between two pieces: a disk that writes a MiB in that time is alive.
	backupIdle = 60 * time.Second
	// pieceBytes is the length of a piece. As JSON it is a third longer, well below the bound of a line.
	pieceBytes = 1 << 20
)

// openBackup is one backup.
type openBackup struct {
	id    string
	timer *time.Timer
	// used is when the client has asked for the last piece, guarded by backups.mu.
	used time.Time
	// done is called once, when the moment is let go.
	done func()

	mu struct {
		sync.Mutex                // held while a piece is read
		frozen     storage.Frozen // nil when the backup is over
		source     *backup.Source
		offset     int64
	}
}

// begin freezes the state and begins a backup.
func (c *backups) begin(version string) (*openBackup, error) {
	c.mu.Lock()
	closed := c.mu.closed
	if !closed {
		c.taking.Add(1)
	}
	c.mu.Unlock()
	if closed {
		return nil, coded(host.ErrStopping)
	}
	b := &openBackup{id: rand.Text(), done: c.taking.Done}
	b.mu.frozen = c.store.Freeze()
	var err error
	if b.mu.source, err = BackupOf(b.mu.frozen, version); err != nil {
		b.close()
		return nil, err
	}
	idlest, err := c.add(b)
	if idlest != nil {
		go idlest.close() // which may wait for a piece; c.taking counts it
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// add adds a backup. It returns the one that has to be given up for it, or nil.
func (c *backups) add(b *openBackup) (idlest *openBackup, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, coded(host.ErrStopping)
	}
	if c.mu.open == nil {
		c.mu.open = map[string]*openBackup{}
	}
	if len(c.mu.open) >= mostBackups {
		for _, other := range c.mu.open {
			if idlest == nil || other.used.Before(idlest.used) {
				idlest = other
			}
		}
		delete(c.mu.open, idlest.id)
	}
	b.used = time.Now()
	b.timer = time.AfterFunc(backupIdle, func() { c.end(b.id) })
	c.mu.open[b.id] = b
	return idlest, nil
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

// find returns the backup of an id, whose client asks for a piece; nil if there is none, or none any more.
func (c *backups) find(id string) *openBackup {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.mu.open[id]
	if b != nil {
		b.used = time.Now()
	}
	return b
}

// end gives a backup up.
func (c *backups) end(id string) {
	c.mu.Lock()
	b := c.mu.open[id]
	delete(c.mu.open, id)
	c.mu.Unlock()
	if b != nil {
		b.close()
	}
}

// close gives all backups up. None begins later, and none holds a moment of the store when close returns.
func (c *backups) close() {
	c.mu.Lock()
	c.mu.closed = true
	open := c.mu.open
	c.mu.open = nil
	c.mu.Unlock()
	for _, b := range open {
		b.close()
	}
	c.taking.Wait()
}

// close lets the state go. It waits for a piece that is being read.
func (b *openBackup) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.mu.frozen != nil {
		b.mu.frozen.Close()
		b.mu.frozen = nil
		b.done()
	}
}

// next returns the piece at an offset, which is the one behind the last piece. last says that it is the last one.
func (b *openBackup) next(offset int64) (piece []byte, last bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.mu.frozen == nil:
		return nil, false, errGivenUp()
	case offset != b.mu.offset:
		return nil, false, control.Errorf(errcode.Conflict, "the next piece of the backup begins at %d, not at %d", b.mu.offset, offset)
	}
	b.timer.Stop() // a client that waits for a slow disk is not idle
	defer b.timer.Reset(backupIdle)
	piece = make([]byte, pieceBytes)
	fault.Point(fault.BackupPiece)
	n, err := io.ReadFull(b.mu.source, piece)
	b.mu.offset += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return piece[:n], true, nil
	}
	return piece[:n], false, err
}

func errGivenUp() error {
	return control.Errorf(errcode.NotFound, "there is no such backup, or it was given up, since nobody asked for its next piece for %v: begin another one", backupIdle)
}

// Backup implements [control.Backend].
func (b *Backend) Backup(_ context.Context, q control.BackupQuery) (control.BackupPiece, error) {
	c := b.backups.find(q.ID)
	if q.ID == "" {
		var err error
		if c, err = b.backups.begin(b.opts.Version); err != nil {
			return control.BackupPiece{}, err
		}
	}
	if c == nil {
		return control.BackupPiece{}, errGivenUp()
	}
	piece, last, err := c.next(q.Offset)
	if last || err != nil && control.CodeOf(err) != errcode.Conflict {
		b.backups.end(c.id)
	}
	return control.BackupPiece{ID: c.id, Piece: piece, Last: last}, err
}

// backedUp is a store of which backups are taken. They are given up before it is closed.
type backedUp struct {
	storage.Store
	backups *backups
}

// Step implements [storage.Stepper].
func (s *backedUp) Step(prefix, after string, most int) (key string, value []byte, found, ready bool, err error) {
	return storage.Step(s.Store, prefix, after, most)
}

// Close implements [storage.Store].
func (s *backedUp) Close() error {
	s.backups.close()
	return s.Store.Close()
}

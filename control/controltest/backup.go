package controltest

import (
	"context"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// BackupID is the id of each backup of a fake.
const BackupID = "b1"

// Backup implements [control.Backend]. A backup is the bytes 0 to 9, in pieces of 4.
func (f *Fake) Backup(_ context.Context, q control.BackupQuery) (control.BackupPiece, error) {
	content := []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	switch {
	case q.ID != "" && q.ID != BackupID:
		return control.BackupPiece{}, control.Errorf(errcode.NotFound, "there is no such backup")
	case q.Offset > int64(len(content)):
		return control.BackupPiece{}, control.Errorf(errcode.Conflict, "the backup has %d bytes", len(content))
	}
	content = content[q.Offset:]
	n := min(len(content), 4)
	return control.BackupPiece{ID: BackupID, Piece: content[:n], Last: n == len(content)}, nil
}

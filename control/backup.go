package control

import (
	"context"

	"ocapkernel.dev/errcode"
)

// BackupQuery asks for a piece of a backup.
type BackupQuery struct {
	// ID is the backup's; the empty id begins one, of the state as it is now.
	ID string `json:"id,omitempty"`
	// Offset is the number of bytes of the pieces that came before.
	Offset int64 `json:"offset,omitempty"`
}

// BackupPiece is a piece of a backup. The pieces, one after the other, are the backup file.
type BackupPiece struct {
	ID string `json:"id"`
	// Piece is base64 in JSON.
	Piece []byte `json:"piece"`
	// Last is set in the last piece: the backup is over.
	Last bool `json:"last,omitempty"`
}

// Backup returns a piece of a backup: the first one of a new backup for a query without an id, then the one behind the
// last. The pieces, one after the other, are the file that package storage/backup describes. The kernel gives the backup up
// if its next piece is not asked for within a minute: then the error is errcode.NotFound.
func (c *Client) Backup(ctx context.Context, q BackupQuery) (BackupPiece, error) {
	var out BackupPiece
	err := c.Call(ctx, methodBackup, q, &out)
	return out, err
}

// parseBackup reads params that ask for a piece of a backup.
func parseBackup(params []byte) (BackupQuery, error) {
	var q BackupQuery
	err := parseParams(params, &q)
	if err == nil && (q.Offset < 0 || q.ID == "" && q.Offset != 0) {
		err = Errorf(errcode.Invalid, "offset is the number of bytes of the pieces that came before")
	}
	return q, err
}

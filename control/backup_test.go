package control_test

import (
	"bytes"
	"context"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
)

func TestBackupComesInPieces(t *testing.T) {
	ctx := context.Background()
	client := dial(t, serve(t, controltest.New(), control.ServerOptions{}))
	var got bytes.Buffer
	var q control.BackupQuery
	for last := false; !last; {
		p, err := client.Backup(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		got.Write(p.Piece)
		q, last = control.BackupQuery{ID: p.ID, Offset: int64(got.Len())}, p.Last
	}
	check(t, "backup", got.String(), nil, "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09")
	for want, q := range map[errcode.Code]control.BackupQuery{
		errcode.NotFound: {ID: "none"},
		errcode.Conflict: {ID: controltest.BackupID, Offset: 11},
		errcode.Invalid:  {Offset: 3}, // of no backup
	} {
		if _, err := client.Backup(ctx, q); control.CodeOf(err) != want {
			t.Errorf("%+v: got %v, want %s", q, err, want)
		}
	}
}

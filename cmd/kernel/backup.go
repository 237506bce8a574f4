package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/backup"
)

// pieceTime is how long the kernel may take to read a piece of a backup.
const pieceTime = time.Minute

// interrupted says so if a command was told to end. Its result is not there then.
func interrupted(err error) error {
	if errors.Is(err, context.Canceled) {
		return errors.New("interrupted: nothing was changed")
	}
	return err
}

// standard names standard input or output in the place of a file.
const standard = "-"

func (a *app) backupCommand() *cobra.Command {
	var overwrite bool
	cmd := a.withJSON(&cobra.Command{
		Use:   "backup FILE",
		Short: "Write the state of this moment into a file",
		Long: `Write everything that is stored, as it is at one moment, into FILE; - is standard output. It works with a running
kernel, which goes on meanwhile, and with a stopped one. Everything that was accepted or answered before is in it.
FILE appears when it is whole; a file that is there already is replaced with --overwrite only. The declaration kernel.json,
worker programs and logs are not in it. kernel restore FILE makes a state of it.`,
		Example: `  kernel backup bank.backup
  kernel backup - | zstd > bank.backup.zst`,
		Args: exactly("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, release := stopSignals(cmd.Context(), func() {})
			defer release()
			return a.backup(ctx, args[0], overwrite)
		},
	})
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "replace FILE if it is there")
	return completeFile(cmd)
}

// writtenBackup describes a backup that was written.
type writtenBackup struct {
	File string `json:"file"`
	backup.Header
	Rows  uint64 `json:"rows"`
	Bytes int64  `json:"bytes"`
}

func (a *app) backup(ctx context.Context, file string, overwrite bool) error {
	if file != standard {
		if err := checkName(file, overwrite); err != nil { // before a kernel does anything for it
			return err
		}
	}
	out := writtenBackup{File: file}
	err := a.withBackup(ctx, file, func(in io.Reader) (err error) {
		write := func(w io.Writer) (err error) {
			out.Header, out.Rows, out.Bytes, err = copyBackup(w, in)
			return err
		}
		if file == standard {
			return write(a.stdout)
		}
		return writeNewFile(file, overwrite, write)
	})
	if err != nil {
		return interrupted(err)
	}
	describe := func(w io.Writer) {
		fmt.Fprintf(w, "%s has the state of %s, epoch %s: %s, %s, %d rows, %s\n", printable(file), out.Taken.Local().Format("2006-01-02 15:04:05"), out.Epoch,
			plural(out.Subclusters, "subcluster"), plural(out.Vats, "vat"), out.Rows, size(out.Bytes))
	}
	if file == standard {
		describe(a.stderr)
		return nil
	}
	return a.print(out, describe)
}

// copyBackup copies a backup, and returns an error unless it is whole.
func copyBackup(w io.Writer, in io.Reader) (h backup.Header, rows uint64, n int64, err error) {
	counted := &counter{w: w}
	r, err := backup.NewReader(io.TeeReader(in, counted))
	for err == nil {
		_, _, err = r.Next()
	}
	if !errors.Is(err, io.EOF) {
		return h, 0, 0, err
	}
	return r.Header(), r.Rows(), counted.n, nil
}

// counter counts the bytes that are written.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// withBackup calls do with a backup of the state, of a kernel that runs or of one that does not. file is the file that do
// writes to, if any.
func (a *app) withBackup(ctx context.Context, file string, do func(io.Reader) error) (err error) {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	if file != "" && file != standard {
		inside, err := isInside(file, dir)
		if err != nil {
			return err
		}
		if inside {
			return usagef("%s is in the state directory, where a reset would delete it: name a file elsewhere", file)
		}
	}
	client, err := a.reach(ctx, dir)
	if err == nil {
		defer client.Close()
		return orSilent(dir, do(&pieces{ctx: ctx, app: a, client: client}))
	}
	if control.CodeOf(err) != errcode.NotRunning {
		return err
	}
	lock, err := a.readState(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	snapshot, err := examine(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	in, err := backend.BackupOf(&ending{snapshot, ctx}, a.version)
	if err != nil {
		return err
	}
	return do(in)
}

// ending is a state of which nothing can be read any more when ctx has ended.
type ending struct {
	storage.Reader
	ctx context.Context
}

// Next implements [storage.Reader].
func (e *ending) Next(prefix, after string) (string, []byte, bool, error) {
	if err := e.ctx.Err(); err != nil {
		return "", nil, false, err
	}
	return e.Reader.Next(prefix, after)
}

// pieces is a backup that a running kernel makes.
type pieces struct {
	ctx    context.Context
	app    *app
	client *control.Client
	query  control.BackupQuery
	piece  control.BackupPiece
}

// Read implements [io.Reader].
func (p *pieces) Read(b []byte) (int, error) {
	for len(p.piece.Piece) == 0 {
		if p.piece.Last {
			return 0, io.EOF
		}
		ctx, cancel := context.WithTimeout(p.ctx, p.app.patience+pieceTime)
		piece, err := p.client.Backup(ctx, p.query)
		cancel()
		if err != nil {
			return 0, err
		}
		p.piece = piece
		p.query.ID = piece.ID
		p.query.Offset += int64(len(piece.Piece))
	}
	n := copy(b, p.piece.Piece)
	p.piece.Piece = p.piece.Piece[n:]
	return n, nil
}

package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
)

// writeNewFile has write write a file, which gets its name when everything in it is on the disk: under the name there is
// never a part of a file. A file that has the name already is replaced with overwrite, and stays without; anything else that
// has it, a link above all, stays in any case. After an error nothing is left, unless the error says that the file is written.
func writeNewFile(path string, overwrite bool, write func(io.Writer) error) error {
	if err := checkName(path, overwrite); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	partial := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text()[:8]+".partial")
	if err := writePartial(partial, write); err != nil {
		return err
	}
	fault.Point(fault.BackupSynced)
	err := checkName(path, overwrite) // somebody may have taken the name meanwhile
	if err == nil && overwrite {
		err = os.Rename(partial, path)
	} else if err == nil {
		err = renameNew(partial, path)
	}
	if err != nil {
		if left := os.Remove(partial); !errors.Is(left, fs.ErrNotExist) {
			err = errors.Join(err, left)
		}
		return err
	}
	fault.Point(fault.BackupRenamed)
	d, err := os.Open(dir)
	if err != nil {
		return nil // the file is there, and a directory that cannot be read can still be written to
	}
	return unsynced(path, errors.Join(d.Sync(), d.Close()))
}

// writePartial writes a file of which everything is on the disk when it returns. After an error there is no file.
func writePartial(partial string, write func(io.Writer) error) error {
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(f, 1<<20)
	err = write(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	return nil
}

// unsynced returns the error of a file that has its name, in a directory of which the sync has failed with err, if it has. A file
// system that syncs no directories has nothing to say.
func unsynced(path string, err error) error {
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return fmt.Errorf("%s is written and whole, and its name may not survive a loss of power: %w", path, err)
}

// renameNew renames a file, unless the new name is taken.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system cannot
		if err := os.Link(from, to); err != nil {
			return err
		}
		if err := os.Remove(from); err != nil {
			return fmt.Errorf("%s is written and whole; its former name is there still: %w", to, err)
		}
		return nil
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// checkName returns an error if a file may not be written under a name.
func checkName(path string, overwrite bool) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is there, and is no file: nothing is written to it", path)
	case !overwrite:
		return &hinted{fmt.Errorf("%s is there already", path), "name another file, or replace it with: --overwrite"}
	}
	return nil
}

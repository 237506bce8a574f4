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
)

// writeNewFile has write write a file, which gets its name when everything in it is on the disk: under the name there is
// never a part of a file. A file that has the name already is replaced with overwrite, and stays without; anything else that
// has it, a link above all, stays in any case.
func writeNewFile(path string, overwrite bool, write func(io.Writer) error) (err error) {
	if err := checkName(path, overwrite); err != nil {
		return err
	}
	dir := filepath.Dir(path)
	partial := filepath.Join(dir, "."+filepath.Base(path)+"."+rand.Text()[:8]+".partial")
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(partial))
		}
	}()
	out := bufio.NewWriterSize(f, 1<<20)
	err = write(out)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := checkName(path, overwrite); err != nil { // somebody may have taken the name meanwhile
		return err
	}
	if overwrite {
		err = os.Rename(partial, path)
	} else {
		err = renameNew(partial, path)
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return nil // the file is there, and a directory that cannot be read can still be written to
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("%s is written, and its name may not survive a loss of power: %w", path, err)
	}
	return nil
}

// renameNew renames a file, unless the new name is taken.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // the file system cannot
		if err := os.Link(from, to); err != nil {
			return err
		}
		return os.Remove(from)
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

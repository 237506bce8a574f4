package service

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	"ocapkernel.dev/errcode"
)

// WriteFile makes text the content of a file. After a death at any moment the file has all of the text or its
// old content. The text is on disk when the call is answered.
func (f *files) WriteFile(name, text string) error { return f.write("writeFile", name, []byte(text)) }

// WriteBytes is WriteFile for bytes.
func (f *files) WriteBytes(name string, b []byte) error { return f.write("writeBytes", name, b) }

// write writes a new file beside the old one, and then puts it in its place.
func (f *files) write(op, name string, b []byte) error {
	if err := f.checkWritable(op, name); err != nil {
		return err
	}
	if err := small(op, name, b); err != nil {
		return err
	}
	info, err := f.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		info = nil
	case err != nil:
		return failed(op, name, err)
	case !info.Mode().IsRegular():
		return irregular(op, name, info)
	}
	dir, err := f.directory(op, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	temporary := path.Join(path.Dir(name), ".write-"+rand.Text())
	file, err := f.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return failed(op, name, err)
	}
	if info != nil {
		err = file.Chmod(info.Mode().Perm())
	}
	if err == nil {
		_, err = file.Write(b)
	}
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = f.root.Rename(temporary, name)
	}
	if err != nil {
		_ = f.root.Remove(temporary) // the error before is the better one
		return failed(op, name, err)
	}
	return synced(op, name, dir)
}

// AppendFile adds text to the end of a file, and makes the file if there is none. The text is on disk when the
// call is answered. If the call fails, the file is as it was; if the kernel dies during it, a part of the text
// may be in the file.
func (f *files) AppendFile(name, text string) error {
	const op = "appendFile"
	if err := f.checkWritable(op, name); err != nil {
		return err
	}
	if err := small(op, name, []byte(text)); err != nil {
		return err
	}
	dir, err := f.directory(op, name)
	if err != nil {
		return err
	}
	defer dir.Close()
	_, err = f.root.Lstat(name)
	isNew := errors.Is(err, fs.ErrNotExist)
	file, err := f.open(op, name, os.O_WRONLY|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil && info.Size()+int64(len(text)) > maxFileBytes {
		err = &Error{errcode.Limit, fmt.Sprintf("the file would be larger than %d bytes", maxFileBytes)}
	}
	if err == nil {
		_, err = file.WriteString(text)
		if err == nil {
			err = file.Sync()
		}
		if err != nil {
			err = errors.Join(err, file.Truncate(info.Size())) // the end of a part would not be known
		}
	}
	if err = errors.Join(err, file.Close()); err != nil {
		if isNew {
			_ = f.root.Remove(name) // the error before is the better one
		}
		return failed(op, name, err)
	}
	return synced(op, name, dir)
}

// Mkdir makes a directory, and those above it. The directory may exist already. If one cannot be made, none is.
func (f *files) Mkdir(name string) error {
	if err := f.checkWritable("mkdir", name); err != nil {
		return err
	}
	var made []string
	for at := range len(name) + 1 {
		if at < len(name) && name[at] != '/' {
			continue
		}
		dir := name[:at]
		err := f.root.Mkdir(dir, 0o755)
		if errors.Is(err, fs.ErrExist) {
			info, statErr := f.root.Stat(dir)
			switch {
			case statErr != nil:
				err = statErr
			case !info.IsDir():
				err = syscall.ENOTDIR
			default:
				continue
			}
		}
		if err == nil {
			made = append(made, dir)
			err = f.sync(dir)
		}
		if err != nil {
			for _, dir := range slices.Backward(made) {
				_ = f.root.Remove(dir) // it stays if another process has put a file there
			}
			return failed("mkdir", name, err)
		}
	}
	return nil
}

// Remove removes a file, or a directory that is empty.
func (f *files) Remove(name string) error {
	if err := f.checkWritable("remove", name); err != nil {
		return err
	}
	dir, err := f.directory("remove", name)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := f.root.Remove(name); err != nil {
		return failed("remove", name, err)
	}
	return synced("remove", name, dir)
}

// Rename gives a file or directory another path. An existing file at that path is replaced.
func (f *files) Rename(from, to string) error {
	if err := f.checkWritable("rename", from); err != nil {
		return err
	}
	if err := f.checkWritable("rename", to); err != nil {
		return err
	}
	var dirs []*os.File
	for _, name := range []string{from, to} {
		dir, err := f.directory("rename", name)
		if err != nil {
			return err
		}
		defer dir.Close()
		dirs = append(dirs, dir)
	}
	if err := f.root.Rename(from, to); err != nil {
		return failed("rename", from, fmt.Errorf("to %s: %w", quote(to), unwrapPath(err)))
	}
	return synced("rename", from, dirs...)
}

// checkWritable returns an error if the directory is read-only, or name is no path that a method may change.
func (f *files) checkWritable(op, name string) error {
	if f.readOnly.Load() {
		return fmt.Errorf("%s %s: the directory is read-only", op, quote(name))
	}
	if name == "." {
		return fmt.Errorf("%s %s: the directory itself stays as it is", op, quote(name))
	}
	return valid(op, name)
}

func small(op, name string, b []byte) error {
	if len(b) > maxWriteBytes {
		return &Error{errcode.Limit, fmt.Sprintf("%s %s: %d bytes, above the limit of %d for one call", op, quote(name), len(b), maxWriteBytes)}
	}
	return nil
}

// directory opens the directory of a path, before the change in it: a change that cannot be made durable, for
// lack of a descriptor, say, is not begun.
func (f *files) directory(op, name string) (*os.File, error) {
	dir, err := f.root.Open(path.Dir(name))
	if err != nil {
		return nil, failed(op, name, err)
	}
	return dir, nil
}

// synced makes changes in directories durable. If that fails, the changes stay, and the error says so.
func synced(op, name string, dirs ...*os.File) error {
	for _, dir := range dirs {
		if err := dir.Sync(); err != nil {
			return failed(op, name, fmt.Errorf("it is done, but may not survive a crash of the machine: %w", unwrapPath(err)))
		}
	}
	return nil
}

// sync makes the entry of a path in its directory durable.
func (f *files) sync(name string) error {
	dir, err := f.root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

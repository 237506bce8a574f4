package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/limits"
)

// Files is the service "fs": the files below one directory. No file outside of it can be reached, by any path
// and through any symbolic link; see [os.Root].
type Files struct {
	*adapter
	files *files
}

// FilesOptions are the limits of a [Files].
type FilesOptions struct {
	// ReadOnly forbids every change.
	ReadOnly bool
	// Allow reports whether the process can spare [CallDescriptors] for a call; without them the call is
	// rejected with LIMIT. Nil allows every call.
	Allow func() bool
}

// CallDescriptors is the most file descriptors that a call of [Files] or [Fetch] takes.
const CallDescriptors = 4

// OpenFiles opens an existing directory as a service. Calls are done one after the other, in the order in which
// they were sent. The caller closes the service.
func OpenFiles(dir string, o FilesOptions) (*Files, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the directory of service fs: %w; it must exist and be a directory", err)
	}
	f := &files{root: root}
	f.readOnly.Store(o.ReadOnly)
	return &Files{builtIn("fs", f, Serial(), allowed(o.Allow), IdempotentMethods(filesAgain[:]...)), f}, nil
}

// filesAgain are the methods that may be done twice.
var filesAgain = [...]string{"list", "readBytes", "readFile", "stat"}

// FilesTraits is the [Kind.Traits] of [Files].
func FilesTraits(method string) Traits {
	return Traits{Idempotent: slices.Contains(filesAgain[:], method)}
}

// SetReadOnly decides whether later calls may change files. A call that has begun goes on.
func (f *Files) SetReadOnly(readOnly bool) { f.files.readOnly.Store(readOnly) }

// Close closes the directory. Later calls fail; a call that is under way may fail.
func (f *Files) Close() error { return f.files.root.Close() }

type files struct {
	root     *os.Root
	readOnly atomic.Bool
}

const (
	// maxReadText and maxReadBytes bound the bytes that one call reads, so that they fit a result, as base64
	// too.
	maxReadText  = limits.FileText
	maxReadBytes = limits.FileBytes
	// maxWriteBytes bounds the bytes that one call writes, and maxFileBytes the size of a file that is appended
	// to.
	maxWriteBytes = limits.FileWrite
	maxFileBytes  = limits.FileSize
	maxEntries    = limits.DirectoryEntries
	maxPathBytes  = limits.PathBytes
)

// ReadFile returns the text of a file.
func (f *files) ReadFile(name string) (string, error) {
	b, err := f.read("readFile", name, 0, -1, maxReadText)
	if err != nil {
		return "", err
	}
	if at := notUTF8(b); at >= 0 {
		return "", fmt.Errorf("readFile %s: byte %d is not UTF-8; read it with readBytes", quote(name), at)
	}
	return string(b), nil
}

// ReadBytes returns the bytes of a file, from an offset on, at most length bytes.
func (f *files) ReadBytes(name string, offsetAndLength ...int64) ([]byte, error) {
	offset, length := int64(0), int64(-1)
	switch len(offsetAndLength) {
	case 0:
	case 1:
		offset = offsetAndLength[0]
	case 2:
		offset, length = offsetAndLength[0], offsetAndLength[1]
		if length < 0 || length > maxReadBytes {
			return nil, fmt.Errorf("readBytes %s: length %d: want 0 to %d", quote(name), length, maxReadBytes)
		}
	default:
		return nil, typeErrorf("fs.readBytes: got %d arguments, want readBytes(path, offset, length), the last two optional", 1+len(offsetAndLength))
	}
	if offset < 0 {
		return nil, fmt.Errorf("readBytes %s: offset %d is negative", quote(name), offset)
	}
	return f.read("readBytes", name, offset, length, maxReadBytes)
}

// read reads length bytes, or all if length is negative; an error if there are more than limit.
func (f *files) read(op, name string, offset, length int64, limit int) ([]byte, error) {
	file, err := f.open(op, name, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	want := length
	if length < 0 {
		want = int64(limit) + 1
	}
	b, err := io.ReadAll(io.NewSectionReader(file, offset, want))
	if err != nil {
		return nil, failed(op, name, err)
	}
	if len(b) > limit {
		return nil, &Error{errcode.Limit, fmt.Sprintf("%s %s: more than %d bytes; read it in pieces, with readBytes(path, offset, length)", op, quote(name), limit)}
	}
	return b, nil
}

// open opens a regular file. It checks the type before it opens the file: to open a device may have an effect,
// and to open a pipe may wait.
func (f *files) open(op, name string, flag int) (*os.File, error) {
	if err := valid(op, name); err != nil {
		return nil, err
	}
	info, err := f.root.Stat(name)
	switch {
	case flag&os.O_CREATE != 0 && errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, failed(op, name, err)
	case !info.Mode().IsRegular():
		return nil, irregular(op, name, info)
	}
	file, err := f.root.OpenFile(name, flag|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return nil, failed(op, name, err)
	}
	info, err = file.Stat()
	if err == nil && info.Mode().IsRegular() {
		return file, nil
	}
	file.Close()
	if err != nil {
		return nil, failed(op, name, err)
	}
	return nil, irregular(op, name, info)
}

// An entry of a directory.
type entry struct {
	Name string `json:"name"`
	Dir  bool   `json:"dir"`
	Size int64  `json:"size"`
}

// List returns the entries of a directory, sorted by name.
func (f *files) List(ctx context.Context, name string) ([]entry, error) {
	if err := valid("list", name); err != nil {
		return nil, err
	}
	dir, err := f.root.OpenFile(name, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, failed("list", name, err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxEntries + 1)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, failed("list", name, err)
	}
	if len(names) > maxEntries {
		return nil, &Error{errcode.Limit, fmt.Sprintf("list %s: more than %d entries; keep them in several directories", quote(name), maxEntries)}
	}
	slices.Sort(names)
	for _, n := range names {
		if !utf8.ValidString(n) {
			return nil, fmt.Errorf("list %s: there is a name that is not UTF-8, %s, which no answer can hold: rename it from outside", quote(name), strconv.QuoteToASCII(clipBytes(n, 100)))
		}
	}
	var entries []entry
	for _, n := range names {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		info, err := f.stat(path.Join(name, n))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, failed("list", path.Join(name, n), err)
		}
		entries = append(entries, entry{n, info.IsDir(), sizeOf(info)})
	}
	return entries, nil
}

// stat follows a symbolic link. If the link leads nowhere, or out of the root, stat describes the link itself.
func (f *files) stat(name string) (fs.FileInfo, error) {
	info, err := f.root.Stat(name)
	if err != nil {
		return f.root.Lstat(name)
	}
	return info, nil
}

type status struct {
	Size     int64     `json:"size"`
	Dir      bool      `json:"dir"`
	Modified time.Time `json:"modified"`
}

// Stat describes a file or directory, or returns null if there is none.
func (f *files) Stat(name string) (*status, error) {
	if err := valid("stat", name); err != nil {
		return nil, err
	}
	info, err := f.stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, nil
	case err != nil:
		return nil, failed("stat", name, err)
	}
	return &status{sizeOf(info), info.IsDir(), info.ModTime().UTC()}, nil
}

func sizeOf(info fs.FileInfo) int64 {
	if info.Mode().IsRegular() {
		return info.Size()
	}
	return 0
}

// valid checks a path: relative, with slashes, and in its shortest form.
func valid(op, name string) error {
	if len(name) > maxPathBytes {
		return fmt.Errorf("%s: a path of %d bytes, above the limit of %d", op, len(name), maxPathBytes)
	}
	if !fs.ValidPath(name) || strings.ContainsRune(name, 0) {
		return fmt.Errorf(`%s %s: want a path such as "notes/today.txt", without a leading or trailing slash, without ".." and "."; the directory itself is "."`, op, quote(name))
	}
	return nil
}

// failed returns the error of an operation, without the path of the root.
func failed(op, name string, err error) error {
	return fmt.Errorf("%s %s: %w", op, quote(name), unwrapPath(err))
}

// unwrapPath returns the cause of the operating system's errors, without their paths.
func unwrapPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

func irregular(op, name string, info fs.FileInfo) error {
	is := "something else"
	switch mode := info.Mode(); {
	case mode.IsDir():
		is = "a directory"
	case mode&fs.ModeSymlink != 0:
		is = "a symbolic link"
	case mode&fs.ModeNamedPipe != 0:
		is = "a named pipe"
	case mode&fs.ModeSocket != 0:
		is = "a socket"
	case mode&fs.ModeDevice != 0:
		is = "a device"
	}
	return fmt.Errorf("%s %s: it is %s, and no regular file", op, quote(name), is)
}

// clipBytes returns at most n bytes of s, as they are.
func clipBytes(s string, n int) string { return s[:min(len(s), n)] }

// notUTF8 returns the index at which b stops being UTF-8, or -1.
func notUTF8(b []byte) int {
	for at := 0; at < len(b); {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			return at
		}
		at += n
	}
	return -1
}

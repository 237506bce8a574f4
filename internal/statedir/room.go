package statedir

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/descriptors"
)

const (
	// DefaultReserve is the free space, in bytes, below which a kernel accepts nothing new.
	DefaultReserve = 256 << 20
	// LeastReserve is the smallest reserve that an operator can choose: a kernel may write as much between two
	// checks.
	LeastReserve = 32 << 20
	// inodeReserve is the number of free inodes that are kept back: the database makes some files now and then.
	inodeReserve = 64
	// openReserve is how many files a commit may open.
	openReserve = 4
)

// Room checks whether a kernel has room to go on, on the disk of a directory and in its own table of files.
type Room struct {
	// Dir is the directory, by its name for a person.
	Dir string
	// At is a path to the directory that stays right.
	At string
	// Reserve is the free space that is kept back, in bytes.
	Reserve uint64
	// Descriptors is the budget of the process.
	Descriptors *descriptors.Budget
}

// Lacks names the resource that is short, in a few words for a person, or returns ""; full reports whether it
// is room on the disk. An error of the disk's own information is no lack.
func (r *Room) Lacks() (what string, full bool) { return r.lacks(content{}) }

// lacks is Lacks for a disk on which the files of gone will be deleted.
func (r *Room) lacks(gone content) (what string, full bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.At, &st); err == nil {
		// A file system that makes inodes as it needs them reports that it has none.
		if free := st.Bavail*uint64(st.Bsize) + gone.bytes; free < r.Reserve {
			return fmt.Sprintf("the disk of %s has %d MiB free, and %d MiB are kept back", r.Dir, free>>20, r.Reserve>>20), true
		} else if st.Files > 0 && st.Ffree+gone.files < inodeReserve {
			return fmt.Sprintf("the file system of %s has room for %d more files, and %d are kept back", r.Dir, st.Ffree+gone.files, inodeReserve), true
		}
	}
	if err := r.Ready(); err != nil {
		return err.Error(), false
	}
	return "", false
}

// Ready returns nil if the files that a commit may need can be opened.
func (r *Room) Ready() error { return r.Descriptors.Probe(openReserve) }

// Check returns an error with the code DISK_FULL if there is too little room to begin. What an interrupted compaction has left
// counts as free, since the next start removes it.
func (r *Room) Check() error { return fullError(r.lacks(size(NextDatabase(r.At)))) }

// CheckReset is Check for a kernel that begins by wiping the state, because of a flag or an interrupted reset:
// a disk that the state has filled is no reason to refuse.
func (r *Room) CheckReset(keep func(name string) bool) error {
	return fullError(r.lacks(deleted(r.At, keep)))
}

// fullError returns an error with the code DISK_FULL and the text what, or nil if full is false.
func fullError(what string, full bool) error {
	if full {
		return control.Errorf(errcode.DiskFull, "%s", what)
	}
	return nil
}

// content is the room that files take of a disk.
type content struct{ bytes, files uint64 }

// deleted returns the room that a reset of the state in dir frees.
func deleted(dir string, keep func(name string) bool) (sum content) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !outlives(e.Name(), keep) {
			n := size(filepath.Join(dir, e.Name()))
			sum.bytes, sum.files = sum.bytes+n.bytes, sum.files+n.files
		}
	}
	return sum
}

// size returns the room that the removal of a file, or of a directory with everything in it, frees. Files that cannot be read do
// not count.
func size(path string) (sum content) {
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		if st := info.Sys().(*syscall.Stat_t); e.IsDir() || st.Nlink == 1 { // else another name keeps it
			sum.bytes += uint64(st.Blocks) * 512
			sum.files++
		}
		return nil
	})
	return sum
}

package statedir

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
	"ocapkernel.dev/descriptors"
)

const (
	// DefaultReserve is the free space, in bytes, below which a kernel accepts nothing new.
	DefaultReserve = 256 << 20
	// LeastReserve is the smallest reserve that can be asked for: what a kernel may write between two looks.
	LeastReserve = 32 << 20
	// inodeReserve is how many files must be left to be made: the database makes some now and then.
	inodeReserve = 64
	// openReserve is how many files a commit may open.
	openReserve = 4
)

// Room tells whether there is room for a kernel to go on, on the disk of a directory and in its own table of files.
type Room struct {
	// Dir is the directory, by the name that a person knows.
	Dir string
	// At is a path to it that stays right.
	At string
	// Reserve is the free space that is kept back, in bytes.
	Reserve uint64
	// Descriptors are those of the process.
	Descriptors *descriptors.Budget
}

// Lacks says what is short, in a few words for a person, and whether it is room on the disk; it is empty if nothing is.
// That the disk cannot be asked is no reason to stop.
func (r *Room) Lacks() (what string, full bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(r.At, &st); err == nil {
		// A file system that makes inodes as it needs them says that it has none.
		if free := st.Bavail * uint64(st.Bsize); free < r.Reserve {
			return fmt.Sprintf("the disk of %s has %d MiB free, and %d MiB are kept back", r.Dir, free>>20, r.Reserve>>20), true
		} else if st.Files > 0 && st.Ffree < inodeReserve {
			return fmt.Sprintf("the file system of %s has room for %d more files, and %d are kept back", r.Dir, st.Ffree, inodeReserve), true
		}
	}
	if err := r.Ready(); err != nil {
		return err.Error(), false
	}
	return "", false
}

// Ready returns nil if the files that a commit may need can be opened.
func (r *Room) Ready() error { return r.Descriptors.Probe(openReserve) }

// Check returns an error with the code DISK_FULL if there is too little room to begin.
func (r *Room) Check() error {
	if what, full := r.Lacks(); full {
		return control.Errorf(control.CodeDiskFull, "%s", what)
	}
	return nil
}

package badgerstore

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/dgraph-io/ristretto/v2/z"

	"ocapkernel.dev/storage"
)

// errPage is the shortage of which the operating system does not tell the cause.
var errPage = errors.New("the disk, or a quota, has no room for one more page of it")

// touch writes to each page of the current logs that a commit of these writes will have Badger write to. It returns an
// error that wraps [storage.ErrNoRoom] if there is no room for one of the pages. Then nothing has changed.
//
// On most file systems the blocks that reserve has allocated are enough. A file system that copies on write (btrfs) asks
// for room again whenever a page is written that was synced before, or that has a block and was never written; so does one
// that cannot allocate blocks. The answer "no" is a SIGBUS, which ends the process if it meets Badger's goroutine, and is an
// error here. A page that is written to has its room until it is synced, which Badger does when it has written the commit.
func (in *internals) touch(writes []storage.Write) error {
	log, values := logged(writes)
	if !in.full() { // else Badger will begin a log
		file, end, _ := in.log()
		if err := touchPages(file, end, end+log); err != nil {
			return err
		}
	}
	if values == 0 {
		return nil
	}
	file, _ := in.lastValueLog()
	end := int64(in.valuesEnd.Load())
	return touchPages(file, end, end+values)
}

// touchPages writes to the pages of a mapped file from one offset to another, between which the file holds nothing.
func touchPages(file *z.MmapFile, from, to int64) error {
	to = min(to, int64(len(file.Data))-1)
	at := from
	for {
		if touchFrom(file.Data, &at, to) {
			return nil
		}
		// The system call tells why.
		if _, err := file.Fd.WriteAt([]byte{0}, at); err != nil {
			return shortage(err)
		}
		// A system call may need less room than a page that is mapped.
		if !touchFrom(file.Data, &at, to) {
			return fmt.Errorf("%w: %s: %w", storage.ErrNoRoom, file.Fd.Name(), errPage)
		}
	}
}

// touchFrom writes to the pages from *at on. It returns false if it cannot, and leaves *at in the page at which it failed.
func touchFrom(data []byte, at *int64, to int64) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() { ok = recover() == nil }()
	page := int64(os.Getpagesize())
	for *at <= to {
		data[*at] = 0
		*at = (*at/page + 1) * page
	}
	return true
}

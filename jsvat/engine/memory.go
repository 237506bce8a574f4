package engine

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/jsvat/quickjs"
)

// maxMemory is the size in bytes to which a module's memory can grow.
const maxMemory = quickjs.MaxPages << 16

// reservation is a range of addresses for one linear memory, as large as the memory can grow. So its base never moves, and an image can be
// mapped over its start. Pages that were never touched cost nothing. None of them is executable.
type reservation []byte

func reserve(size int) (reservation, error) {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("reserve %d bytes of address space: %w", size, err)
	}
	return b, nil
}

// mapFile maps the first size bytes of f behind offset over the start of the reservation, copy-on-write: pages that are not
// written stay shared with all others that map the file.
func (r reservation) mapFile(f *os.File, offset int64, size int) error {
	_, err := unix.MmapPtr(int(f.Fd()), offset, unsafe.Pointer(unsafe.SliceData(r)), uintptr(size),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_FIXED)
	if err != nil {
		return fmt.Errorf("map image: %w", err)
	}
	return nil
}

func (r reservation) release() {
	_ = unix.Munmap(r) // fails only for a range that is no mapping
}

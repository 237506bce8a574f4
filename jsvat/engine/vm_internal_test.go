package engine

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"
)

// mappings returns the lines of /proc/self/maps that lie in the reservation.
func mappings(t *testing.T, begin uintptr) (lines []string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var from, to uintptr
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
			t.Fatal(err)
		}
		if from < begin+maxMemory && to > begin {
			lines = append(lines, line)
		}
	}
	return lines
}

func TestCloseUnmapsAllAndNothingIsExecutable(t *testing.T) {
	v := mustCreate(t, Options{}, newModule)
	f, err := os.CreateTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := v.WriteImage(f); err != nil {
		t.Fatal(err)
	}
	again, err := RestoreFile(f, 0, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*VM{v, again} {
		begin := uintptr(unsafe.Pointer(unsafe.SliceData(v.reserved)))
		lines := mappings(t, begin)
		if len(lines) == 0 {
			t.Error("the memory is not in its reservation")
		}
		for _, line := range lines {
			if !strings.Contains(line, " rw-p ") {
				t.Errorf("a mapping with other rights: %s", line)
			}
		}
		for range 2 {
			if err := v.Close(); err != nil {
				t.Error(err)
			}
		}
		// Another thread may have mapped something there already, but nothing as large.
		var size uintptr
		for _, line := range mappings(t, begin) {
			var from, to uintptr
			if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err != nil {
				t.Fatal(err)
			}
			size += min(to, begin+maxMemory) - max(from, begin)
		}
		if size > maxMemory/2 {
			t.Errorf("%d bytes are still mapped", size)
		}
		if v.Memory() != nil {
			t.Error("a closed VM has memory")
		}
		if _, err := v.Eval("1", "test.js"); !errors.Is(err, ErrClosed) {
			t.Errorf("a call of a closed VM: %v", err)
		}
	}
}

// The memory grows within the reservation, and its base stays where it is.
func TestMemoryStaysInItsReservation(t *testing.T) {
	v := mustCreate(t, Options{Memory: MaxMemory}, newModule)
	base, size := unsafe.SliceData(v.Memory()), len(v.Memory())
	if _, err := v.Eval(`globalThis.x = new ArrayBuffer(20 << 20); 1`, "test.js"); err != nil {
		t.Fatal(err)
	}
	if m := v.Memory(); unsafe.SliceData(m) != base || len(m) < size+20<<20 {
		t.Errorf("%d bytes at %p, then %d at %p", size, base, len(m), unsafe.SliceData(m))
	}
}

// A header that points outside the memory passes its checksum here. The translated module panics, and the VM is closed for good.
func TestAnAccessOutsideTheMemoryBreaksTheVM(t *testing.T) {
	v := mustCreate(t, Options{}, newModule)
	w := words{
		size: uint64(len(v.Memory())), stack: v.stackPointer(), state: v.state,
		runtime: v.Xqjs_get_runtime_ptr(), context: 0x7fff0000,
	}
	broken, err := Restore(append(w.encode(), v.Memory()...), Options{})
	if err == nil {
		defer broken.Close()
		if _, err = broken.Eval("1", "test.js"); !errors.Is(err, ErrBroken) {
			t.Errorf("the first call: %v", err)
		}
		_, err = broken.Eval("1", "test.js")
	}
	if !errors.Is(err, ErrBroken) {
		t.Error(err)
	}
	// A memory of zeros is no heap.
	w.context = v.Xqjs_get_context_ptr()
	zeros, err := Restore(append(w.encode(), make([]byte, w.size)...), Options{})
	if err == nil {
		defer zeros.Close()
		if b, err := zeros.Eval("1", "test.js"); err == nil {
			t.Errorf("a script ran in no heap: %q", b)
		}
	}
}

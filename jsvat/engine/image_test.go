package engine_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/jsvat/engine"
)

const counter = `
let n = 0;
globalThis.count = text => { n += text.length; return String(n); };
let settle;
new Promise(resolve => { settle = resolve; }).then(x => { n += x; });
globalThis.settle = text => settle(+text);
1`

func image(t testing.TB, vm *engine.VM) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := vm.WriteImage(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func file(t testing.TB, b []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func call(t testing.TB, vm *engine.VM, function, text string) string {
	t.Helper()
	b, err := vm.Call(function, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A closure and a promise that is pending go on in a VM that is restored from bytes, from a file and from a sealed memfd, each with the memory
// of the VM that was never disturbed.
func TestAnImageGoesOn(t *testing.T) {
	vm := newVM(t, engine.Options{})
	eval(t, vm, counter)
	call(t, vm, "count", "four")
	saved := image(t, vm)
	if again := image(t, vm); !bytes.Equal(saved, again) {
		t.Error("the same VM wrote two images")
	}
	fromBytes, err := engine.Restore(saved, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fromBytes.Close()
	f := file(t, append(make([]byte, 8192), saved...))
	fromFile, err := engine.RestoreFile(f, 8192, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fromFile.Close()
	fd, err := unix.MemfdCreate("image", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		t.Fatal(err)
	}
	sealed := os.NewFile(uintptr(fd), "image")
	if _, err := sealed.Write(saved); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL); err != nil {
		t.Fatal(err)
	}
	fromMemfd, err := engine.RestoreFile(sealed, 0, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fromMemfd.Close()
	if err := sealed.Close(); err != nil {
		t.Fatal(err)
	}
	for i, vm := range []*engine.VM{vm, fromBytes, fromFile, fromMemfd} {
		if got := call(t, vm, "count", "xxx"); got != "7" {
			t.Errorf("VM %d counts %s", i, got)
		}
		call(t, vm, "settle", "100")
		jobs(t, vm)
		if got := call(t, vm, "count", ""); got != "107" {
			t.Errorf("VM %d counts %s behind the promise", i, got)
		}
	}
	want := image(t, vm)
	for i, vm := range []*engine.VM{fromBytes, fromFile, fromMemfd} {
		if !bytes.Equal(image(t, vm), want) {
			t.Errorf("VM %d has another image", i)
		}
	}
	if _, err := f.Seek(8192, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(f); err != nil || !bytes.Equal(b, saved) {
		t.Errorf("the file was changed, or cannot be read: %v", err)
	}
}

func TestAnImageThatIsNotWholeIsRefused(t *testing.T) {
	vm := newVM(t, engine.Options{})
	eval(t, vm, counter)
	good := image(t, vm)
	altered := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 0x10
		return b
	}
	for name, b := range map[string][]byte{
		"empty": {}, "short": good[:95], "header only": good[:4096], "one byte short": good[:len(good)-1],
		"magic": altered(0), "build": altered(8), "size": altered(41), "stack pointer": altered(49), "fuel": altered(62), "checksum": altered(93),
	} {
		if vm, err := engine.Restore(b, engine.Options{}); !errors.Is(err, engine.ErrImage) {
			t.Errorf("%s: %v, %v", name, vm, err)
		}
		if vm, err := engine.RestoreFile(file(t, b), 0, engine.Options{}); !errors.Is(err, engine.ErrImage) {
			t.Errorf("%s, of a file: %v, %v", name, vm, err)
		}
	}
	if _, err := engine.Restore(append(bytes.Clone(good), 0), engine.Options{}); !errors.Is(err, engine.ErrImage) {
		t.Errorf("one byte more: %v", err)
	}
}

// A file that is cut short under its mapping breaks the VM, not the process.
func TestAFileCutShortBreaksTheVM(t *testing.T) {
	vm := newVM(t, engine.Options{})
	eval(t, vm, counter)
	f := file(t, image(t, vm))
	again, err := engine.RestoreFile(f, 0, engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(8192); err != nil {
		t.Fatal(err)
	}
	if _, err := again.Call("count", []byte("x")); !errors.Is(err, engine.ErrBroken) {
		t.Errorf("a call: %v", err)
	}
	if _, err := again.RunJobs(); !errors.Is(err, engine.ErrBroken) {
		t.Errorf("the next call: %v", err)
	}
	if err := again.WriteImage(io.Discard); !errors.Is(err, engine.ErrBroken) {
		t.Errorf("an image: %v", err)
	}
}

func TestTheMemoryLimitIsThatOfTheRestore(t *testing.T) {
	vm := newVM(t, engine.Options{Memory: 8 << 20})
	const take = `globalThis.taken = new ArrayBuffer(16 << 20); 1`
	if _, err := vm.Eval(take, "test.js"); !errors.Is(err, engine.ErrMemory) {
		t.Errorf("16 MiB of 8: %v", err)
	}
	larger, err := engine.Restore(image(t, vm), engine.Options{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer larger.Close()
	eval(t, larger, take)
	for _, memory := range []int{-1, 1, engine.MaxMemory + 1} {
		if vm, err := engine.New(engine.Options{Memory: memory}); err == nil {
			t.Errorf("a limit of %d bytes: %v", memory, vm)
		}
	}
}

func BenchmarkEngine(b *testing.B) {
	vm := newVM(b, engine.Options{Host: func(string, []byte) ([]byte, error) { return nil, nil }})
	eval(b, vm, counter)
	saved := image(b, vm)
	f := file(b, saved)
	b.Run("eval", func(b *testing.B) {
		for b.Loop() {
			eval(b, vm, `1 + 1`)
		}
	})
	b.Run("call", func(b *testing.B) {
		for b.Loop() {
			call(b, vm, "count", "xxx")
		}
	})
	b.Run("callOut", func(b *testing.B) {
		eval(b, vm, `globalThis.ask = () => { for (let i = 0; i < 100; i++) hostCall('x', 'yyy') }; 1`)
		for b.Loop() {
			call(b, vm, "ask", "")
		}
	})
	b.Run("loop1e6", func(b *testing.B) {
		vm.Grant(engine.Grant{Fuel: 1 << 60})
		for b.Loop() {
			eval(b, vm, `(() => { let x = 0; for (let i = 0; i < 1e6; i++) x = (x + i) | 0; return x })()`)
		}
	})
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			vm, err := engine.New(engine.Options{})
			if err != nil {
				b.Fatal(err)
			}
			_ = vm.Close()
		}
	})
	b.Run("restoreAndCall", func(b *testing.B) {
		for b.Loop() {
			vm, err := engine.RestoreFile(f, 0, engine.Options{})
			if err != nil {
				b.Fatal(err)
			}
			call(b, vm, "count", "xxx")
			_ = vm.Close()
		}
		b.ReportMetric(float64(len(saved)), "image-bytes")
	})
}

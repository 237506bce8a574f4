package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/control"
)

// image makes a file system in an image and mounts it. Both are gone after the test.
func image(t *testing.T, mkfs string, args ...string) string {
	t.Helper()
	file, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, 1500<<20)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{append(append([]string{mkfs}, args...), file), {"mount", "-o", "loop", file, dir}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v %s", command, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	return dir
}

// fills takes all room in a directory, as another program would, and returns how to give it back.
func fills(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(0)
	for chunk := int64(256 << 20); chunk >= 1<<20; {
		if err := unix.Fallocate(int(f.Fd()), 0, end, chunk); err != nil {
			chunk /= 2
			continue
		}
		end += chunk
	}
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		n, err := f.WriteAt(chunk, end)
		if end += int64(n); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// The disk, or a quota, is full at any time: the kernel pauses and says why, a start is refused, and the kernel goes on by
// itself when there is room. A kill in the pause loses nothing, and each transfer happens once.
func TestAFullDiskIsAPause(t *testing.T) {
	for name, fs := range map[string]struct {
		says string // empty if the reserve may find the lack first
		dir  func(t *testing.T) string
	}{
		"ext4":  {"", func(t *testing.T) string { return image(t, "mkfs.ext4", "-q") }},
		"btrfs": {"", func(t *testing.T) string { return image(t, "mkfs.btrfs", "-q") }},
		"btrfs with a quota": {"commits wait: ", func(t *testing.T) string {
			dir := image(t, "mkfs.btrfs", "-q")
			sub := filepath.Join(dir, "sub")
			for _, args := range [][]string{{"quota", "enable", dir}, {"subvolume", "create", sub}, {"qgroup", "limit", "300M", sub}} {
				if out, err := exec.Command("btrfs", args...).CombinedOutput(); err != nil {
					t.Skipf("btrfs %s: %v %s", args, err, out)
				}
			}
			return sub
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(name, "btrfs") && os.Getenv("KILLS") == "" {
				t.Skip("the system may write a page back between the check and the commit, and the next write to it ends the kernel: set KILLS to try it")
			}
			dir := fs.dir(t)
			s := newSite(t)
			s.state = filepath.Join(dir, "state")
			config, err := filepath.Abs("../examples/bank/cluster.json")
			if err != nil {
				t.Fatal(err)
			}
			d := s.run(t, config)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			const customers = 3
			orders, failures := make([][]transfer, customers), make(chan error, customers)
			var answered atomic.Int64
			var wg sync.WaitGroup
			for c := range customers {
				wg.Go(func() {
					for n := 0; ctx.Err() == nil; n++ {
						tr := transfer{from: c, to: (c + 1) % customers, amount: 1 + n%3}
						if err := order(s.state, fmt.Sprintf("c%d-%d", c, n), &tr); err != nil {
							failures <- err
							return
						}
						orders[c] = append(orders[c], tr)
						answered.Add(1)
					}
				})
			}
			works := func() {
				t.Helper()
				before := answered.Load()
				eventually(t, func() error {
					if now := answered.Load(); now < before+10 {
						return fmt.Errorf("%d transfers are answered", now-before)
					}
					return nil
				})
			}
			for _, killed := range []bool{false, true, false} {
				works()
				free := fills(t, dir)
				eventually(t, func() error {
					var st control.Status
					s.read(t, &st, "status")
					if st.State != control.DiskFull || !strings.Contains(strings.Join(st.Pauses, ";"), fs.says) {
						return fmt.Errorf("state %s, pauses %q", st.State, st.Pauses)
					}
					return nil
				})
				if killed {
					d.kill()
					if out := s.cli("run", config); out.exit == 0 || !strings.Contains(out.stderr, "--disk-reserve") {
						t.Errorf("a start: %v", out)
					}
				}
				free()
				if killed {
					d = s.run(t, config)
				}
			}
			works()
			stop()
			wg.Wait()
			select {
			case err := <-failures:
				t.Fatal(err)
			default:
			}
			checkBank(t, s.state, orders)
			d.stop()
			s.must(t, "check")
		})
	}
}

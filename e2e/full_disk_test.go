package e2e_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/internal/disktest"
)

// The disk, or a quota, is full at any time: the kernel pauses and says why, a start is refused, and the kernel goes on by
// itself when there is room. A kill in the pause loses nothing, and each transfer happens once.
func TestAFullDiskIsAPause(t *testing.T) {
	for name, fs := range map[string]struct {
		says string // empty if the reserve may find the lack first
		dir  func(t *testing.T) string
	}{
		"ext4":               {"", func(t *testing.T) string { return disktest.Ext4(t, 1500<<20) }},
		"btrfs":              {"", func(t *testing.T) string { return disktest.Btrfs(t, 1500<<20) }},
		"btrfs with a quota": {"commits wait: ", func(t *testing.T) string { return disktest.BtrfsQuota(t, 1500<<20, "300M") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := fs.dir(t)
			s := newSite(t)
			s.state = filepath.Join(dir, "state")
			config, err := filepath.Abs("../examples/bank/cluster.json")
			if err != nil {
				t.Fatal(err)
			}
			d := s.run(t, config)
			bank := newCustomers(t, s.state, 3, dice(t).Uint64())
			for _, killed := range []bool{false, true, false} {
				bank.areServedMore(t)
				free := disktest.Fill(t, dir)
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
			bank.areServedMore(t)
			bank.settle(t)
			d.stop()
			s.must(t, "check")
		})
	}
}

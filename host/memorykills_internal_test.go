package host

import (
	"os"
	"path/filepath"
	"testing"
)

// Deaths for lack of memory are those of the kernel's own control group, where that counts them and is the same as before;
// otherwise those of the machine.
func TestWhoseDeathsForLackOfMemoryAreCounted(t *testing.T) {
	dir := t.TempDir()
	proc, groups := filepath.Join(dir, "proc"), filepath.Join(dir, "groups")
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	machine := func(n string) { write(filepath.Join(proc, "vmstat"), "pgfree 12\noom_kill "+n+"\nunevictable 0\n") }
	group := func(path, n string) {
		write(filepath.Join(proc, "self", "cgroup"), "3:cpuset:/x\n0::"+path+"\n")
		if n != "" {
			write(filepath.Join(groups, path, "memory.events"), "low 0\noom 1\noom_kill "+n+"\noom_group_kill 0\n")
		}
	}
	if n := memoryKillsIn(proc, groups); n != (memoryKills{}) {
		t.Errorf("where nothing is told: %+v", n)
	}
	for _, c := range []struct {
		name          string
		before, after func()
		want          bool
	}{
		{"the machine, without a group", func() { machine("1") }, func() { machine("2") }, true},
		{"nothing, without a group", func() { machine("2") }, func() {}, false},
		{"a group that does not count", func() { group("/", ""); machine("2") }, func() { machine("3") }, true},
		{"a neighbour of the group", func() { group("/a", "0") }, func() { machine("4") }, false},
		{"the group", func() { group("/a", "0") }, func() { group("/a", "1"); machine("5") }, true},
		{"another group", func() { group("/a", "7") }, func() { group("/b", "0"); machine("6") }, true},
		{"another group, and nobody died", func() { group("/b", "0") }, func() { group("/c", "9") }, false},
		{"a group that was not there", func() { group("/gone", "") }, func() { group("/c", "9"); machine("7") }, true},
		{"a path that leads out", func() { group("/../../c", "") }, func() {}, false},
	} {
		c.before()
		before := memoryKillsIn(proc, groups)
		c.after()
		if got := memoryKillsIn(proc, groups).since(before); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

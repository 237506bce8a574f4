package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// memoryKills counts the processes that were killed for lack of memory: on the whole machine, and in the kernel's own control
// group. The machine's number counts the neighbours of a container, too. That of the group counts the kernel and its workers
// alone, but begins anew with the group, which a service manager makes for each start.
type memoryKills struct {
	// Machine counts since the machine began; 0 if the system does not tell.
	Machine uint64 `json:"short,omitempty"`
	// Group identifies the control group that Own counts; it is empty where there is none that counts.
	Group string `json:"group,omitempty"`
	Own   uint64 `json:"own,omitempty"`
}

// countMemoryKills reads the numbers as they are now.
func countMemoryKills() memoryKills { return memoryKillsIn("/proc", "/sys/fs/cgroup") }

// memoryKillsIn is countMemoryKills where proc and the control groups of version 2 are mounted at other places.
func memoryKillsIn(proc, groups string) memoryKills {
	var n memoryKills
	n.Machine, _ = counterIn(filepath.Join(proc, "vmstat"), "oom_kill")
	path, found := ownGroup(filepath.Join(proc, "self", "cgroup"))
	if !found {
		return n
	}
	dir := filepath.Join(groups, path)
	info, err := os.Stat(dir)
	if err != nil {
		return n
	}
	own, found := counterIn(filepath.Join(dir, "memory.events"), "oom_kill")
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && found {
		n.Group, n.Own = fmt.Sprintf("%s %d", path, stat.Ino), own
	}
	return n
}

// ownGroup returns the path of this process's control group of version 2.
func ownGroup(file string) (path string, found bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			return filepath.Clean("/" + path), true
		}
	}
	return "", false
}

// counterIn returns the number that follows a name in a file of such lines.
func counterIn(file, name string) (n uint64, found bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if digits, ok := strings.CutPrefix(line, name+" "); ok {
			n, err := strconv.ParseUint(strings.TrimSpace(digits), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// since reports whether a process was killed for lack of memory since earlier numbers were read: one of the control group, if
// that is still the same one, otherwise any of the machine.
func (n memoryKills) since(earlier memoryKills) bool {
	if n.Group != "" && n.Group == earlier.Group {
		return n.Own > earlier.Own
	}
	return n.Machine > earlier.Machine
}

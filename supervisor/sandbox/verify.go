package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLooks bounds how often Verify lists the threads of a process that goes on starting and ending threads.
const maxLooks = 20

// Verify checks from outside that the process confines itself as p says: every thread has a filter and no_new_privs, and the
// process has the limits. A [*LayerError] names the layer that is missing. It cannot see Landlock, of which the system shows
// nothing. It reads one file for each thread.
func (p Policy) Verify(pid int) error {
	if p.Mode == Off {
		return nil
	}
	if err := p.Limits.verify(pid); err != nil {
		return err
	}
	for range maxLooks {
		again, err := p.verifyThreads(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil || !again {
			return err
		}
	}
	return &LayerError{LayerSeccomp, errors.New("its threads change too fast to be checked"), ownHint}
}

// verify checks the hard limits of a process. It reads them from a file: to ask for those of another user's process takes a
// privilege.
func (l Limits) verify(pid int) error {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		return fmt.Errorf("sandbox: read the limits of the worker (has it ended, or does a /proc that is mounted with hidepid hide it?): %w", err)
	}
	for _, r := range l.resources() {
		var hard string
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, r.title); ok {
				if fields := strings.Fields(rest); len(fields) >= 2 {
					hard = fields[1]
				}
			}
		}
		if n, err := strconv.ParseUint(hard, 10, 64); err != nil || n > r.most { // "unlimited" is no number
			return &LayerError{LayerLimits, fmt.Errorf("%s is %s, not at most %d", r.name, strconv.Quote(hard), r.most), ownHint}
		}
	}
	return nil
}

// verifyThreads returns again if a thread ended meanwhile: one without a filter may have made another.
func (p Policy) verifyThreads(dir string) (again bool, err error) {
	tasks, err := os.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("sandbox: list the threads of the worker (has it ended, or does a /proc that is mounted with hidepid hide it?): %w", err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(dir + "/" + task.Name() + "/status")
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			again = true
			continue
		}
		if err != nil {
			return false, fmt.Errorf("sandbox: read the status of a thread: %w", err)
		}
		if err := p.verifyStatus(string(text)); err != nil {
			return false, err
		}
	}
	return again, nil
}

// verifyStatus checks the status file of one thread.
func (p Policy) verifyStatus(text string) error {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			fields[key] = strings.TrimSpace(value)
		}
	}
	if v := fields["Seccomp"]; v != "2" {
		return &LayerError{LayerSeccomp, fmt.Errorf("a thread has Seccomp: %s, not 2", strconv.Quote(v)), ownHint}
	}
	if v := fields["NoNewPrivs"]; v != "1" {
		return &LayerError{LayerNoNewPrivs, fmt.Errorf("a thread has NoNewPrivs: %s, not 1", strconv.Quote(v)), ownHint}
	}
	if v := fields["CapEff"]; p.Mode == Required && strings.Trim(v, "0") != "" {
		return &LayerError{LayerCapabilities, fmt.Errorf("a thread has CapEff: %s, not 0", strconv.Quote(v)), ownHint}
	}
	return nil
}

// CanConfine returns an error, a [*LayerError] if a layer is missing, if this system does not have the layers that mode needs.
func CanConfine(mode Mode) error {
	for _, l := range Offered() {
		if l.err == nil || mode == Off || mode == BestEffort && !l.floor() {
			continue
		}
		return l.err
	}
	return nil
}

// A LayerState says whether the system offers a layer.
type LayerState struct {
	Layer string `json:"layer"`
	// Why says why the layer is not there, and how to get it; empty if it is.
	Why string `json:"why,omitempty"`

	err error
}

func (l LayerState) floor() bool { return l.Layer != LayerLandlock }

// Offered lists the layers, and which of them the system offers to a program built as this one.
func Offered() []LayerState {
	state := func(layer string, err error, hint string) LayerState {
		if err != nil {
			return LayerState{layer, fmt.Sprintf("%v (%s)", err, hint), &LayerError{layer, err, hint}}
		}
		return LayerState{Layer: layer}
	}
	_, err := assemble(1)
	if err == nil {
		action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
		err = available(&action)
	}
	seccomp := state(LayerSeccomp, err, seccompHint)
	_, err = landlockVersion()
	return []LayerState{{Layer: LayerNoNewPrivs}, {Layer: LayerLimits}, seccomp, state(LayerLandlock, err, landlockHint)}
}

//go:build faults

package fault

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Point counts a pass of the point, and ends the process if this is the pass that KERNEL_FAULT names.
func Point(name Name) {
	if isChosen(name) {
		die()
	}
}

// Torn is [Point] for the writing of data: it writes the first half of data before the process ends.
func Torn(name Name, data []byte, write func([]byte) (int, error)) {
	if isChosen(name) {
		_, _ = write(data[:len(data)/2]) // the process ends in any case
		die()
	}
}

// Env returns the variables by which a process that is started has the same faults.
func Env() (env []string) {
	for _, key := range []string{Variable, LogVariable} {
		if value, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// isChosen counts a pass, and reports whether the process is to end here.
func isChosen(name Name) bool {
	dir := os.Getenv(LogVariable)
	if dir == "" {
		return false
	}
	pass, err := count(filepath.Join(dir, string(name)))
	if err != nil {
		panic("fault: count a pass: " + err.Error())
	}
	return slices.Contains(strings.Split(os.Getenv(Variable), ","), fmt.Sprintf("%s:%d", name, pass))
}

// count adds a byte to a file and returns the number of bytes that it has then. A byte that is appended has a place of its
// own, whoever else appends at the same time.
func count(path string) (int64, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Write([]byte{'.'}); err != nil {
		return 0, err
	}
	return f.Seek(0, io.SeekCurrent)
}

// die ends the process by SIGKILL, and does not return.
func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until the signal has come to this thread
}

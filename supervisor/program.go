package supervisor

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// program is a worker program that was found and, if it must have a certain hash, has that hash.
type program struct {
	path string // the path to execute; empty for a script with a hash, which run gives the path of a descriptor of the child
	// file is open if a hash was checked. A binary is executed through file, so that the program that runs is the one that
	// was checked, even if another has taken its name meanwhile. For a script, file is a copy that cannot be changed, and
	// that the child inherits: the interpreter opens it by the descriptor's number.
	file *os.File
}

// maxScriptBytes bounds a script that has to have a certain hash: it is copied into memory.
const maxScriptBytes = 16 << 20

// openProgram finds a program and, if want is not empty, checks that want is its hash. The caller closes the returned program
// when it was started.
func openProgram(name, want string) (p program, err error) {
	if name == "" {
		return program{}, errors.New("no worker program")
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return program{}, fmt.Errorf("worker program: %w", err)
	}
	if want == "" {
		return program{path: path}, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // opening a FIFO must not block
	if err != nil {
		return program{}, fmt.Errorf("worker program: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return program{}, fmt.Errorf("worker program %s is not a regular file", path)
	}
	if info.Mode().Perm()&0o111 == 0 {
		return program{}, fmt.Errorf("worker program %s may not be executed: permission denied", path)
	}
	start := make([]byte, 2)
	n, _ := io.ReadFull(f, start) // a shorter file is no script
	if string(start[:n]) == "#!" {
		return pinScript(path, f, want)
	}
	h := sha256.New()
	h.Write(start[:n])
	if _, err := io.Copy(h, f); err != nil {
		return program{}, fmt.Errorf("worker program: %w", err)
	}
	if err := checkHash(path, h.Sum(nil), want); err != nil {
		return program{}, err
	}
	// The first descriptors of the child are taken by os/exec, so the path names one above them.
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 16)
	if err != nil {
		return program{}, fmt.Errorf("worker program: %w", err)
	}
	return program{fmt.Sprintf("/proc/self/fd/%d", fd), os.NewFile(uintptr(fd), path)}, nil
}

func checkHash(path string, sum []byte, want string) error {
	if got := hex.EncodeToString(sum); !strings.EqualFold(got, want) {
		return fmt.Errorf("worker program %s has sha256 %s, want %s", path, got, clean(want, 80))
	}
	return nil
}

// pinScript copies a script and checks the hash of the copy. It checks neither the interpreter nor the programs that the
// script calls.
func pinScript(path string, f *os.File, want string) (program, error) {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxScriptBytes+1))
	if err != nil {
		return program{}, fmt.Errorf("worker program: %w", err)
	}
	if len(text) > maxScriptBytes {
		return program{}, fmt.Errorf("worker program %s is a script of more than %d bytes, too large for a sha256", path, maxScriptBytes)
	}
	sum := sha256.Sum256(text)
	if err := checkHash(path, sum[:], want); err != nil {
		return program{}, err
	}
	fd, err := unix.MemfdCreate("worker program", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return program{}, fmt.Errorf("worker program: copy the script: %w", err)
	}
	c := os.NewFile(uintptr(fd), path)
	_, err = io.Copy(c, bytes.NewReader(text))
	if err == nil {
		_, err = unix.FcntlInt(c.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return program{}, errors.Join(fmt.Errorf("worker program: copy the script: %w", err), c.Close())
	}
	return program{file: c}, nil
}

// run has cmd execute the program.
func (p program) run(cmd *exec.Cmd) {
	cmd.Path = p.path
	if cmd.Path == "" {
		cmd.Path = fmt.Sprintf("/proc/self/fd/%d", 3+len(cmd.ExtraFiles))
		cmd.ExtraFiles = append(cmd.ExtraFiles, p.file)
	}
}

// close releases the file.
func (p program) close() {
	if p.file != nil {
		_ = p.file.Close() // only read
	}
}

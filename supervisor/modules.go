package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/wire"
)

// Bounds of what a program may answer when asked for its modules.
const (
	modulesTime     = 10 * time.Second
	maxModulesBytes = 1 << 20
	maxModules      = 4096
	maxModuleName   = 128
)

// Modules is the function [Modules], for the stock program if program is empty.
func (s *Supervisor) Modules(ctx context.Context, program string) ([]string, error) {
	if program == "" {
		program = s.cfg.StockProgram
	}
	return Modules(ctx, program)
}

// Modules asks a worker program, given by its path, which modules it contains. It runs the program, until
// ctx ends or for ten seconds at most, and kills what it leaves behind by then.
func Modules(ctx context.Context, program string) ([]string, error) {
	path, _, err := openProgram(program, "")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, modulesTime)
	defer cancel()
	out, errs := &capped{limit: maxModulesBytes, over: cancel}, &capped{limit: maxLine}
	cmd := exec.CommandContext(ctx, path, wire.ModulesFlag)
	cmd.Env, cmd.Dir = append(hostEnv(), "LC_ALL=C"), "/"
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 200 * time.Millisecond
	err = cmd.Run()
	switch {
	case out.full:
		return nil, fmt.Errorf("modules of %s: it says more than %d bytes", program, maxModulesBytes)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("modules of %s: %w", program, ctx.Err())
	case err != nil:
		text := strings.TrimSpace(errs.buf.String())
		if text == "" {
			return nil, fmt.Errorf("modules of %s: %w", program, err)
		}
		return nil, fmt.Errorf("modules of %s: %w: %s", program, err, clean(text, maxLastWords))
	}
	var names []string
	if err := json.Unmarshal(out.buf.Bytes(), &names); err != nil {
		return nil, fmt.Errorf("modules of %s: it does not answer %s with a JSON array of names, so it is no worker program", program, wire.ModulesFlag)
	}
	if len(names) > maxModules {
		return nil, fmt.Errorf("modules of %s: more than %d", program, maxModules)
	}
	for _, n := range names {
		if n == "" || len(n) > maxModuleName || clean(n, maxModuleName) != n {
			return nil, fmt.Errorf("modules of %s: %q is no name", program, clean(n, maxModuleName))
		}
	}
	return names, nil
}

// capped keeps what is written to it, up to a limit, and then calls over.
type capped struct {
	buf   bytes.Buffer
	limit int
	full  bool
	over  func()
}

func (c *capped) Write(b []byte) (int, error) {
	if room := c.limit - c.buf.Len(); len(b) > room {
		c.buf.Write(b[:room])
		if c.full = true; c.over != nil {
			c.over()
		}
		return len(b), nil
	}
	return c.buf.Write(b)
}

// RSS is the resident memory of a process, in bytes. Pages that workers share count for each of them.
func RSS(pid int) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	fields := bytes.Fields(b)
	if len(fields) < 2 {
		return 0, errors.New("memory of a process: /proc/<pid>/statm has no second field")
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	return pages * int64(os.Getpagesize()), nil
}

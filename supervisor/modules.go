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
	"time"

	"ocapkernel.dev/internal/limits"
	"ocapkernel.dev/wire"
)

// The limits of a program's answer to the question for its modules.
const (
	modulesTime     = limits.Modules
	maxModulesBytes = 1 << 20
	maxModules      = 4096
	maxModuleName   = 128
	// modulesRest is how long the answer is read once the program has ended. All of the answer is in a pipe by then,
	// and a processor that others keep busy may take seconds to read it. Only a process that the program has left
	// behind, and that was not found, keeps the pipe open for longer.
	modulesRest = 5 * time.Second
)

// Modules is the function [Modules], for the stock program if program is empty.
func (s *Supervisor) Modules(ctx context.Context, program, sha256 string) ([]string, error) {
	if program == "" {
		program = s.cfg.StockProgram
	}
	return Modules(ctx, program, sha256)
}

// Modules asks a worker program which modules it contains, and returns their names. The program is given by its path and
// the hash that it must have, which is empty if any hash will do. A program with another hash is not executed. The program
// runs until ctx ends, and thirty seconds at most. The processes that it leaves behind are killed, as those of a worker.
func Modules(ctx context.Context, program, sha256 string) ([]string, error) {
	found, err := openProgram(program, sha256)
	if err != nil {
		return nil, err
	}
	defer found.close()
	ctx, cancel := context.WithTimeout(ctx, modulesTime)
	defer cancel()
	out, errs := &capped{limit: maxModulesBytes, over: cancel}, &capped{limit: maxLine}
	cmd := exec.CommandContext(ctx, "", wire.ModulesFlag)
	cmd.Err = nil // exec.CommandContext looked for a program of an empty name; found has the program
	cmd.Args[0] = wire.WorkerName
	found.run(cmd)
	// A program that runs a kernel, and is no worker program, sees by the cookie that it was started as one.
	cmd.Env, cmd.Dir = append(hostEnv(), "LC_ALL=C", wire.CookieKey+"="+wire.CookieValue), "/"
	cmd.Stdout, cmd.Stderr = out, errs
	cmd.Cancel = func() error { ours.kill(cmd.Process.Pid, nil); return cmd.Process.Kill() }
	cmd.WaitDelay = modulesRest
	if err = ours.start(cmd); err == nil {
		pid := cmd.Process.Pid
		waitEnd(pid)
		ours.killRest(pid)
		err = cmd.Wait()
		ours.forget(pid)
	}
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // the program has ended well, and its answer is what it has said
	}
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

// capped keeps the bytes that are written to it, up to a limit. At the limit it calls over.
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

// rss returns the resident memory of a process, in bytes.
func rss(pid int) (int64, error) {
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

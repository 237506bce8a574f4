package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sync/errgroup"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/internal/statedir"
)

// hearing runs the tests, in the process that is not a program of theirs.
type hearing struct{ *testing.M }

func (h hearing) Run() int {
	scripttest.HearSignals()
	return h.M.Run()
}

// TestMain makes this binary be the program kernel, with a kernel behind it that has no vats.
func TestMain(m *testing.M) {
	testscript.Main(hearing{m}, map[string]func(){"kernel": func() {
		a := &app{
			stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv, version: "v0-test",
			newKernel: newFakeKernel, program: "kernel",
			check: func(_ context.Context, cfg *cluster.Config, err error, _ bool) error {
				return cluster.CheckModules(cfg, err, func(string, string) ([]string, error) { return []string{"bank.mint", "bank.teller"}, nil })
			},
			patience: patience,
		}
		if text := os.Getenv("PATIENCE"); text != "" {
			a.patience, _ = time.ParseDuration(text)
		}
		os.Exit(a.run(context.Background(), os.Args[1:]))
	}, "reader": func() {
		// It reads a state, as kernel check does, until it is interrupted.
		lock, err := statedir.LockForReading(os.Args[1])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println("reading")
		over := make(chan os.Signal, 1)
		signal.Notify(over, os.Interrupt)
		<-over
		_ = lock.Close()
	}})
}

// fakeKernel remembers its subclusters in a file, so that there is something to find again.
type fakeKernel struct {
	*controltest.Fake
	path     string
	listener *control.Listener // nil: it serves no client
}

func newFakeKernel(o backend.Options) (openKernel, error) {
	switch os.Getenv("FAKE") {
	case "broken":
		return nil, errors.New("the state is \x1b[31mdamaged")
	case "panics":
		panic("the kernel panics")
	}
	if o.Crashed {
		o.Logger.Warn("the last kernel has crashed")
	}
	k := &fakeKernel{Fake: controltest.New(), path: filepath.Join(o.Dir, "fake.json")}
	k.Info.Durability = o.Durability.String()
	declared, err := declaration(o)
	if err != nil {
		return nil, err
	}
	if o.Reset {
		err = statedir.Reset(o.Dir, o.Keep)
	} else if !o.Paused {
		err = statedir.FinishReset(o.Dir, o.Keep)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(k.path)
	var clusters []control.Subcluster
	if err == nil {
		err = json.Unmarshal(text, &clusters)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	for _, c := range clusters {
		k.Adopt(c)
	}
	k.Declare(o.UpgradeSystem, declared...)
	if o.System != "" {
		err = k.save()
	}
	if err != nil || !o.Control {
		return k, err
	}
	k.listener, err = control.Listen(o.Dir)
	return k, err
}

// declaration reads a declaration: in this fake, an array of names and texts.
func declaration(o backend.Options) (list []controltest.Declaration, err error) {
	if o.System == "" {
		return nil, nil
	}
	text, err := os.ReadFile(o.System)
	return list, errors.Join(err, json.Unmarshal(text, &list))
}

// Run serves clients, and does not stop if the script says so.
func (k *fakeKernel) Run(ctx context.Context) error {
	serverCtx, stop := context.WithCancel(context.Background())
	var g errgroup.Group
	if k.listener != nil {
		g.Go(func() error {
			return control.NewServer(k.listener, k, control.ServerOptions{Version: "v0-test"}).Run(serverCtx)
		})
	}
	if os.Getenv("FAKE") == "stuck" {
		select {}
	}
	err := k.Fake.Run(ctx)
	stop()
	return errors.Join(err, g.Wait())
}

// EarlierDeaths knows of none.
func (k *fakeKernel) EarlierDeaths() int { return 0 }

// SystemReady has nothing to wait for.
func (k *fakeKernel) SystemReady(context.Context) error { return nil }

// Ensure launches a cluster that does not run.
func (k *fakeKernel) Ensure(ctx context.Context, r control.LaunchRequest) (backend.Ensured, error) {
	status, err := k.Status(ctx)
	if err != nil {
		return backend.Ensured{}, err
	}
	sum := sha256.Sum256(r.Config)
	for _, s := range status.Clusters {
		switch {
		case s.Source != r.Path || s.System != "":
		case s.Hash == hex.EncodeToString(sum[:]):
			return backend.Ensured{Subcluster: s}, nil
		default:
			return backend.Ensured{}, control.Errorf(errcode.Conflict, "%s changed since it was launched as %s", r.Path, s.ID)
		}
	}
	sub, result, err := k.Launch(ctx, r)
	return backend.Ensured{Subcluster: sub, Launched: true, Result: result}, err
}

func (k *fakeKernel) Launch(ctx context.Context, r control.LaunchRequest) (control.Subcluster, control.Data, error) {
	sub, result, err := k.Fake.Launch(ctx, r)
	if err == nil {
		err = k.save()
	}
	return sub, result, err
}

func (k *fakeKernel) Terminate(ctx context.Context, subcluster string) error {
	return errors.Join(k.Fake.Terminate(ctx, subcluster), k.save())
}

func (k *fakeKernel) Reload(ctx context.Context, subcluster string) ([]control.Subcluster, error) {
	now, err := k.Fake.Reload(ctx, subcluster)
	return now, errors.Join(err, k.save())
}

func (k *fakeKernel) ReloadAll(ctx context.Context) ([]control.Subcluster, error) {
	now, err := k.Fake.ReloadAll(ctx)
	return now, errors.Join(err, k.save())
}

func (k *fakeKernel) ClearState(ctx context.Context) error {
	return errors.Join(k.Fake.ClearState(ctx), k.save())
}

func (k *fakeKernel) save() error {
	status, _ := k.Status(context.Background())
	text, err := json.Marshal(status.Clusters)
	if err != nil {
		return err
	}
	return os.WriteFile(k.path, text, 0o600)
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("REWRITE") != "",
		Setup: func(env *testscript.Env) error {
			state := filepath.Join(env.WorkDir, "state")
			env.Setenv("OCAPKERNEL_STATE", state)
			env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
			for _, key := range []string{"GOCOVERDIR", "GORACE"} {
				env.Setenv(key, os.Getenv(key))
			}
			env.Defer(func() { endLeftKernel(t, state) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scripttest.Exits,
			"says":  scripttest.Says,
			"until": scripttest.Until,
		},
	})
}

// endLeftKernel ends the kernel that a script has left behind, also one that was stopped with a signal when the script
// failed.
func endLeftKernel(t testing.TB, state string) {
	lock, err := os.ReadFile(filepath.Join(state, "kernel.lock"))
	fields := strings.Fields(string(lock))
	if err != nil || len(fields) == 0 {
		return // none has run
	}
	pid, err := strconv.Atoi(fields[len(fields)-1])
	if err != nil {
		return
	}
	if line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && bytes.Contains(line, []byte(state)) {
		t.Logf("a kernel was left behind: pid %d", pid)
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by now
	}
}

package supervisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/wire"
)

// hostEnv lists the variables of the kernel that a worker inherits. All of them are for the Go runtime,
// none for the vat.
func hostEnv() []string {
	var env []string
	for _, key := range []string{"GODEBUG", "GOTRACEBACK", "GOCOVERDIR", "GORACE"} {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	return append(env, fault.Env()...)
}

// process is the OS process of a worker, and the [runner.Runner] by which go-plugin runs it.
//
// go-plugin reads one short line of a worker, the handshake, and nothing else: its log reader lets a worker panic the
// kernel (a log line whose "@message" is a number), and its reader of stdout keeps a buffer and a goroutine without a use.
// logs.go reads the log lines instead.
type process struct {
	w    *worker
	cmd  *exec.Cmd
	logs *logReader

	socket         *pluginSocket
	certificate    bool     // is in the handshake
	version        int      // of the protocol, from the handshake; known after launch
	stdout, stderr *os.File // our ends
	pidfd          *os.File
	handshake      *io.PipeReader
	pumps          sync.WaitGroup
	pumped         chan struct{} // closed when both pumps are at their end

	end    ending
	exited chan struct{} // closed when the process is reaped
	// killing counts the goroutines that kill the process: it is not reaped meanwhile. A killing begins with mu held, and only
	// if the process is not reaped.
	killing sync.WaitGroup

	mu struct {
		sync.Mutex
		pid            int
		killed, reaped bool
		signalled      bool // the process and all that it has started are killed, or being killed
	}
}

var _ runner.Runner = (*process)(nil)

func newProcess(w *worker) *process {
	return &process{w: w, end: ending{known: make(chan struct{})}, exited: make(chan struct{}), pumped: make(chan struct{}), logs: newLogReader(w.log)}
}

// offered are the versions of the protocol of which a worker announces one.
var offered = map[int]plugin.PluginSet{
	wire.OldestVersion: {wire.PluginName: vatPlugin{}},
	wire.Version:       {wire.PluginName: vatPlugin{}},
}

// launch starts the program and returns the link to it, after the handshake. On an error
// the caller still calls cleanUp.
func (p *process) launch() (_ link, err error) {
	program, err := openProgram(p.w.spec.Program, p.w.spec.SHA256)
	if err != nil {
		return nil, err
	}
	defer program.close()
	undo := func(f func() error) { // if there is no link in the end
		if err != nil {
			_ = f() // nothing was written
		}
	}
	file, dataChild, err := socketpair("data")
	if err != nil {
		return nil, err
	}
	defer dataChild.Close()
	data, err := net.FileConn(file)
	_ = file.Close() // data is a duplicate
	if err != nil {
		return nil, fmt.Errorf("data socket: %w", err)
	}
	defer func() { undo(data.Close) }()
	file, controlChild, err := socketpair("control")
	if err != nil {
		return nil, err
	}
	defer controlChild.Close()
	pings := newControl(file)
	defer func() { undo(func() error { pings.close(); return nil }) }()

	if p.w.policy, err = p.w.sup.policyOf(p.w.spec); err != nil {
		return nil, err
	}
	start := p.w.spec.Start
	p.cmd = &exec.Cmd{
		Args:       []string{wire.WorkerName, start.Vat, start.Module},
		Dir:        "/",
		ExtraFiles: []*os.File{dataChild, controlChild},
	}
	program.run(p.cmd)
	p.socket = &pluginSocket{}
	prints := &printed{logs: p.logs}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{MagicCookieKey: wire.CookieKey, MagicCookieValue: wire.CookieValue},
		VersionedPlugins: offered,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, tmpDir string) (runner.Runner, error) {
			p.socket.dir = tmpDir
			p.cmd.Env = append(append(cmd.Env, workerEnv(hostEnv(), p.w.policy)...), wire.LogKey+"="+logging.LevelName(logging.LevelOf(p.w.log)))
			return p, nil
		},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: p.w.sup.cfg.RunDir},
		GRPCDialOptions:  dialOptions(p.socket),
		SyncStdout:       prints,
		SyncStderr:       prints,
		SkipHostEnv:      true,
		StartTimeout:     24 * time.Hour,        // ours, by which the process is killed, comes before
		Logger:           hclog.NewNullLogger(), // the process's messages come back as errors
	})
	if err := ensureRunDir(p.w.sup.cfg.RunDir); err != nil {
		return nil, err
	}
	defer p.socket.remove()
	if _, err := client.Start(); err != nil {
		return nil, handshakeError(err)
	}
	p.version = client.NegotiatedVersion()
	if p.socket.announced() {
		pings.close() // a plugin has go-plugin's own health
		return openStream(client, p.socket, data, p.w.lim, p.w.over, p.exited)
	}
	return newDescriptor(data.(*net.UnixConn), pings)
}

// handshakeError shortens an error of go-plugin to our words.
func handshakeError(err error) error {
	text, _, _ := strings.Cut(err.Error(), "\n")
	said, odd := strings.CutPrefix(text, "Unrecognized remote plugin message:")
	switch said = strings.TrimSpace(said); {
	case odd && said == "":
		return errors.New("no handshake")
	case odd:
		return fmt.Errorf("not a worker program: instead of a handshake it says %q", clean(said, 100))
	}
	return errors.New(clean(text, 300))
}

// withoutCertificate returns the line of a handshake up to its fifth field, and whether the sixth field, the certificate,
// is there. The kernel does not ask for a certificate, and go-plugin panics on one that it has not asked for.
func withoutCertificate(line []byte) (_ []byte, has bool) {
	at := 0
	for range 5 {
		i := bytes.IndexByte(line[at:], '|')
		if i < 0 {
			return line, false
		}
		at += i + 1
	}
	field, _, _ := bytes.Cut(line[at:], []byte("|"))
	return line[:at], len(bytes.TrimSpace(field)) > 0
}

func socketpair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s socket: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name+" of worker"), nil
}

// Start is part of being a runner: it is called once, by launch, through go-plugin.
func (p *process) Start(context.Context) error {
	var childOut, childErr *os.File
	var err error
	if p.stdout, childOut, err = os.Pipe(); err != nil {
		return err
	}
	defer childOut.Close()
	if p.stderr, childErr, err = os.Pipe(); err != nil {
		return err
	}
	defer childErr.Close()
	pidfd := -1
	p.cmd.Stdout, p.cmd.Stderr = childOut, childErr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	fault.Point(fault.Spawn)
	if err := ours.start(p.cmd); err != nil {
		return fmt.Errorf("start worker program: %w", err)
	}
	fault.Point(fault.Spawned)
	if pidfd < 0 {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		ours.forget(p.cmd.Process.Pid)
		return errors.New("start worker program: no pidfd: Linux 5.4 or later is needed")
	}
	_ = unix.SetNonblock(pidfd, true)
	p.pidfd = os.NewFile(uintptr(pidfd), "pidfd")
	p.mu.Lock()
	p.mu.pid = p.cmd.Process.Pid
	p.w.pid.Store(int64(p.mu.pid))
	killed := p.mu.killed
	p.mu.Unlock()
	go p.reap()

	line, w := io.Pipe()
	p.handshake = line
	p.pumps.Go(func() {
		out := bufio.NewReaderSize(p.stdout, maxLine)
		first, _ := out.ReadSlice('\n') // a line that is too long, or none, is no handshake
		first, p.certificate = withoutCertificate(first)
		_, _ = w.Write(first)
		_ = w.Close()
		p.logs.read(out)
	})
	p.pumps.Go(func() { p.logs.read(bufio.NewReaderSize(p.stderr, maxLine)) })
	go func() {
		p.pumps.Wait()
		close(p.pumped)
	}()
	if killed {
		p.kill()
	}
	return nil
}

// reap waits for the process without a thread, notes its exit status, kills the processes that it has left behind while its
// id is still taken, and only then releases the id. The killing may take long: when many processes end at once, each waits
// for those before it.
func (p *process) reap() {
	defer close(p.exited)
	if raw, err := p.pidfd.SyscallConn(); err == nil {
		_ = raw.Read(func(fd uintptr) bool {
			status, over := hasEnded(fd)
			if over {
				p.noteEnd(status)
			}
			return over
		})
	}
	p.mu.Lock()
	pid := p.mu.pid
	p.mu.Unlock()
	ours.killRest(pid) // without the lock, so that a concurrent kill does not wait
	p.mu.Lock()
	p.mu.reaped = true
	p.mu.Unlock()
	p.killing.Wait()            // a kill under way needs the id
	_, _ = p.cmd.Process.Wait() // the status is known
	fault.Point(fault.WorkerReaped)
	ours.forget(pid)
	_ = p.pidfd.Close()
}

// kill ends the process and all processes that it has started, now or as soon as it exists. It does not wait: finding those
// processes may take as many reads of /proc as there are processes.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.killed = true
	if p.mu.pid == 0 || p.mu.reaped || p.mu.signalled {
		return
	}
	p.mu.signalled = true
	pid := p.mu.pid
	if ours.adopts.Load() { // reap finds the started processes when the process has ended
		ours.kill(pid, p.pidfd)
		return
	}
	// It stands still meanwhile: if it ended by itself, which it does without its socket, the chain of parents would be lost.
	signalGroup(pid, p.pidfd, unix.SIGSTOP)
	p.killing.Go(func() { ours.kill(pid, p.pidfd) })
}

// noteEnd notes how the process has ended. The first time counts.
func (p *process) noteEnd(status syscall.WaitStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end.once.Do(func() {
		p.end.status, p.end.ours = status, p.mu.killed
		close(p.end.known)
	})
}

// status waits, at most that long of the time in which the kernel runs, for how the process ended, and whether we had sent
// it SIGKILL by then. ok is false if the process lives on.
func (p *process) status(wait time.Duration) (status syscall.WaitStatus, ours, ok bool) {
	timeUp := make(chan struct{})
	timer := p.w.sup.clock.after(wait, func() { close(timeUp) })
	defer timer.stop()
	select {
	case <-p.end.known:
	case <-timeUp:
		if !p.askEnd() {
			return 0, false, false
		}
		<-p.end.known
	}
	return p.end.status, p.end.ours, true
}

// askEnd asks the system whether the process has ended: reap may not have had a processor yet.
func (p *process) askEnd() (over bool) {
	raw, err := p.pidfd.SyscallConn()
	if err != nil {
		return true // it is reaped
	}
	err = raw.Control(func(fd uintptr) {
		var status syscall.WaitStatus
		if status, over = hasEnded(fd); over {
			p.noteEnd(status)
		}
	})
	return over || err != nil
}

// lastWords is the line by which the worker explained its end, if there is one. It waits, at most that
// long, for the log to end.
func (p *process) lastWords(wait time.Duration) string {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-p.pumped:
	case <-timer.C:
	}
	return p.logs.lastWords()
}

// cleanUp waits for the process, which the caller has killed, and releases its descriptors and directories.
func (p *process) cleanUp() {
	if p.w.Pid() != 0 {
		<-p.exited
		// The pipes may hold the last lines, or be held open by a process left behind.
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-p.pumped:
		case <-timer.C:
		}
		timer.Stop()
	}
	for _, f := range []*os.File{p.stdout, p.stderr} {
		if f != nil {
			_ = f.Close() // of reading ends: ends the pumps
		}
	}
	p.pumps.Wait()
	p.logs.report(true)
}

// Wait is part of being a runner.
func (p *process) Wait(context.Context) error { <-p.exited; return nil }

// Kill is part of being a runner: go-plugin calls it when there is no good handshake. If that is so because the process
// is ending, how it ends is to be known.
func (p *process) Kill(context.Context) error {
	p.status(100 * time.Millisecond)
	p.kill()
	return nil
}

// Stdout is part of being a runner: the handshake and no more.
func (p *process) Stdout() io.ReadCloser { return p.handshake }

// Stderr is part of being a runner: nothing.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

// Name is part of being a runner.
func (p *process) Name() string { return wire.WorkerName }

// ID is part of being a runner.
func (p *process) ID() string {
	if pid := p.w.Pid(); pid != 0 {
		return fmt.Sprint(pid)
	}
	return ""
}

// Diagnose is part of being a runner.
func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost is part of being a runner: it is told the address in the handshake. One that is to be dialled, the socket
// dials.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	switch {
	case p.certificate:
		return "", "", errors.New("it announces a certificate: the kernel does not ask for TLS")
	case network == "unix" && address == wire.DescriptorAddress:
	default:
		if err := p.socket.announce(network, address, p.w.Pid()); err != nil {
			return "", "", err
		}
	}
	return "unix", "inherited", nil
}

// HostToPlugin is part of being a runner. There is nothing of ours to connect to.
func (p *process) HostToPlugin(string, string) (string, string, error) {
	return "", "", errors.New("supervisor: a worker connects to nothing")
}

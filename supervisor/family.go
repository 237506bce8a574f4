package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family is the processes that this process has started, and those that they have started in turn.
//
// Each process of ours begins a session of its own. What it starts is in that session unless it leaves it for a new
// one; nobody can join a session. So a process in our own session is no worker's, and is never touched here.
//
// A worker's descendants end with it. They are found in two ways. Those in its process group are killed by the group,
// and those that have left the group by the chain of parents, when the worker is killed. With adopts the system makes
// a process whose parent has ended a child of ours, whatever it did to hide: of our children in other sessions, those
// live on that are in the session of a worker that lives, and all others are killed.
//
// Children that were there before this process became the parent of orphans are not ours: a shell that has started one, or
// an init of a container, executed the kernel in its place. They and what is in their sessions live on. The first process of
// a container gets the orphans of all others in it, who need not be workers: it kills none for being an orphan, and reaps
// those that have ended.
//
// There is one family, because the children of a process are the process's, whichever part of it has started them.
type family struct {
	adopts atomic.Bool
	// reaps says that orphans become children of ours, and are reaped.
	reaps atomic.Bool
	// below is descendants, or what a test has in its place.
	below func(pid int, list []int) []int

	mu      sync.Mutex       // is held while a process begins, so that none is seen that is not known
	known   map[int]struct{} // the processes of ours that were not reaped; guarded by mu
	strange map[int]struct{} // the sessions of the children that are not ours; guarded by mu
}

var ours = &family{known: map[int]struct{}{}, strange: map[int]struct{}{}, below: descendants}

// AdoptOrphans makes this process the parent of processes that workers leave behind, for good, so that they are killed
// with their worker whatever they did to leave it. It is for a program that is a kernel and nothing else: children that it
// starts by itself, in sessions of their own, would be killed as well. Children that it has already are left alone, with
// what is in their sessions. In the first process of a container, which is everybody's parent there, nothing is killed for
// being an orphan; orphans that have ended are reaped. Without it, what has left the process group of its
// worker is killed with it only if the worker is killed by this package, and only as far as the chain of parents leads.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	ours.adopt(os.Getpid())
	return nil
}

// adopt has the family of the process self look after orphans.
func (f *family) adopt(self int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.reaps.Swap(true) {
		return
	}
	for _, pid := range children(self) {
		if p, err := readStat(pid); err == nil {
			if _, known := f.known[p.session]; !known {
				f.strange[p.session] = struct{}{}
			}
		}
	}
	f.adopts.Store(self != initPID)
}

// initPID is the first process of a system, or of a container.
const initPID = 1

// start starts a process in a session of its own.
func (f *family) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setsid = true
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	f.known[cmd.Process.Pid] = struct{}{}
	delete(f.strange, cmd.Process.Pid) // a session that is gone, whose number is taken again
	return nil
}

// forget is called when a process of ours has been reaped.
func (f *family) forget(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, pid)
}

// kill sends SIGKILL to a process of ours that was not reaped, to its process group and to its descendants.
func (f *family) kill(pid int, pidfd *os.File) {
	var below []int
	if !f.adopts.Load() { // else they are found when it has ended
		below = f.below(pid, nil)
	}
	signalGroup(pid, pidfd, unix.SIGKILL)
	for _, p := range below {
		_ = unix.Kill(p, unix.SIGKILL)
	}
}

// signalGroup sends a signal to a process that was not reaped and to its process group.
func signalGroup(pid int, pidfd *os.File, signal unix.Signal) {
	_ = unix.Kill(-pid, signal) // fails if all have left the group
	if pidfd == nil {
		return
	}
	if raw, err := pidfd.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	}
}

// waitEnd waits until a process of ours has ended, and leaves it to be reaped.
func waitEnd(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return
		}
	}
}

// killRest kills what a process of ours has left behind, when it has ended and before it is reaped, so that its
// number still stands for it; 0 is for what all that ended before have left. It takes some milliseconds at most; what comes into being faster than it is killed is
// left to the next time.
func (f *family) killRest(pid int) {
	if pid != 0 {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	for range 10 {
		if !f.sweep(pid) {
			return
		}
		time.Sleep(time.Millisecond) // what was killed dies, and hands its own children to us
	}
}

// sweep reaps the orphans that have ended, and kills those that belong to no process of ours but the one that is ending, which is 0 if none
// is. It says whether one was killed.
func (f *family) sweep(ending int) (killed bool) {
	session, err := unix.Getsid(0)
	if err != nil || !f.reaps.Load() {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, pid := range children(os.Getpid()) {
		if _, ours := f.known[pid]; ours {
			continue
		}
		p, err := readStat(pid)
		if err != nil || p.session == session {
			continue
		}
		_, strange := f.strange[p.session]
		if p.state == 'Z' {
			if !strange || pid != p.session { // else whoever has started it waits for it
				_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
			}
			continue
		}
		if _, lives := f.known[p.session]; lives && p.session != ending || strange || !f.adopts.Load() {
			continue
		}
		_ = unix.Kill(pid, unix.SIGKILL)
		killed = true
	}
	return killed
}

// watch sweeps when a child has ended, once a second at most, until done.
func (f *family) watch(done <-chan struct{}) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	defer signal.Stop(ended)
	for {
		select {
		case <-ended:
			f.sweep(0)
		case <-done:
			return
		}
		select {
		case <-time.After(time.Second):
		case <-done:
			return
		}
	}
}

// stat is what /proc says of a process.
type stat struct {
	state           byte
	parent, session int
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // the name before may hold anything
	if len(fields) < 4 {
		return stat{}, errors.New("/proc/<pid>/stat is short")
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	session, err2 := strconv.Atoi(string(fields[3]))
	return stat{fields[0][0], parent, session}, errors.Join(err1, err2)
}

// children returns the children of a process: what can be known of them, for they come and go.
func children(pid int) (pids []int) {
	tasks, _ := filepath.Glob("/proc/" + strconv.Itoa(pid) + "/task/*/children")
	for _, name := range tasks {
		text, _ := os.ReadFile(name) // a thread that has just ended has none
		for word := range bytes.FieldsSeq(text) {
			if n, err := strconv.Atoi(string(word)); err == nil {
				pids = append(pids, n)
			}
		}
	}
	if len(tasks) > 0 {
		return pids
	}
	// The system is built without these files.
	all, _ := fs.Glob(os.DirFS("/proc"), "[0-9]*")
	for _, name := range all {
		n, _ := strconv.Atoi(name)
		if p, err := readStat(n); err == nil && p.parent == pid {
			pids = append(pids, n)
		}
	}
	return pids
}

// descendants adds to list the processes below one, as far as the chain of parents leads.
func descendants(pid int, list []int) []int {
	const most = 10_000 // also if they come into being meanwhile
	for _, child := range children(pid) {
		if len(list) >= most {
			break
		}
		list = descendants(child, append(list, child))
	}
	return list
}

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

// family is the set of processes that this process has started, such as workers, and their descendants.
//
// Each process that the family starts begins a session of its own. The descendants of that process are in its session, or
// in new sessions of their own: a process can leave a session, but cannot join one. So a process in this process's own
// session descends from no worker, and the family never touches it.
//
// A worker's descendants end with the worker. The family finds them in two ways. Descendants in the worker's process group
// are killed by the group. Descendants that have left the group are found by the chain of parents, when the worker is
// killed. With adopts, the operating system makes a process whose parent has ended a child of this process, even if it has
// begun a session of its own. Of the children in other sessions, the family spares those in the session of a worker that
// lives, and kills all others.
//
// Children that were there before this process became the parent of orphans are strange: a shell that had started one, or
// an init of a container, executed the kernel in its place. The family leaves strange children alone, and so the other
// processes in their sessions. The first process of a container gets the orphans of all other processes in the container,
// which need not be workers: it kills no process for being an orphan, and reaps orphans that have ended.
//
// There is one family in a process, because the operating system does not tell which part of the process has started a
// child.
type family struct {
	adopts atomic.Bool
	// reaps says that orphans become children of this process, and that the family reaps them.
	reaps atomic.Bool
	// below is the function descendants, or a test's substitute.
	below func(pid int, list []int) []int

	mu      sync.Mutex       // held while a process begins, so that sweep sees no process before it is known
	known   map[int]struct{} // the processes that the family has started and not reaped; guarded by mu
	strange map[int]struct{} // the sessions of the children that the family has not started; guarded by mu
}

var ours = &family{known: map[int]struct{}{}, strange: map[int]struct{}{}, below: descendants}

// AdoptOrphans makes this process the parent of the processes that workers leave behind, for good, so that they are killed
// with their worker even if they have begun sessions of their own. It is for a program that is a kernel and nothing else:
// children that the program starts by itself, in sessions of their own, would be killed as well. Children that the program
// has already are left alone, and so are the other processes in their sessions. In the first process of a container, to
// which all orphans of the container go, no process is killed for being an orphan, and orphans that have ended are reaped.
//
// Without AdoptOrphans, a process that has left the process group of its worker is killed only if this package kills the
// worker, and only if the chain of parents leads to the process.
func AdoptOrphans() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become the parent of orphans: %w", err)
	}
	ours.adopt(os.Getpid())
	return nil
}

// adopt has the family of the process self reap and kill orphans.
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
	delete(f.strange, cmd.Process.Pid) // that session is gone: its number was free for the new process
	return nil
}

// forget removes a process of the family that was reaped.
func (f *family) forget(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.known, pid)
}

// kill sends SIGKILL to a process of the family that was not reaped, to its process group and to its descendants.
func (f *family) kill(pid int, pidfd *os.File) {
	var below []int
	if !f.adopts.Load() { // with adopts, sweep finds the descendants when the process has ended
		below = f.below(pid, nil)
	}
	signalGroup(pid, pidfd, unix.SIGKILL)
	for _, p := range below {
		_ = unix.Kill(p, unix.SIGKILL)
	}
}

// signalGroup sends a signal to a process that was not reaped and to its process group.
func signalGroup(pid int, pidfd *os.File, signal unix.Signal) {
	_ = unix.Kill(-pid, signal) // fails if the group is empty
	if pidfd == nil {
		return
	}
	if raw, err := pidfd.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.PidfdSendSignal(int(fd), signal, nil, 0) })
	}
}

// waitEnd waits until a process of the family has ended. It does not reap the process.
func waitEnd(pid int) {
	for {
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return
		}
	}
}

// killRest kills the processes that a process of the family has left behind. The caller calls it when that process has ended
// and before it is reaped, while the number pid cannot stand for another process. With pid 0 it kills the processes that
// all earlier ones have left. It takes some milliseconds at most: if descendants multiply faster than it kills them, the
// rest are left to the next call.
func (f *family) killRest(pid int) {
	if pid != 0 {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	for range 10 {
		if !f.sweep(pid) {
			return
		}
		time.Sleep(time.Millisecond) // a killed process dies, and its own children become children of this process
	}
}

// sweep reaps the orphans that have ended. It kills the orphans that live, except strange ones and those in the session of a
// process of the family other than ending. The argument is 0 if no process is ending. It returns whether it has killed a
// process.
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
			if !strange || pid != p.session { // a strange child that leads its session is waited for by the code that has started it
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

// watch calls sweep when a child has ended, once a second at most, until done is closed.
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

// stat is the state of a process according to /proc.
type stat struct {
	state           byte
	parent, session int
}

func readStat(pid int) (stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // the name before it may contain spaces and parentheses
	if len(fields) < 4 {
		return stat{}, errors.New("/proc/<pid>/stat is short")
	}
	parent, err1 := strconv.Atoi(string(fields[1]))
	session, err2 := strconv.Atoi(string(fields[3]))
	return stat{fields[0][0], parent, session}, errors.Join(err1, err2)
}

// children returns the children of a process. The list may be out of date when it is returned, as children come and go.
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

// descendants adds to list the descendants of a process, as far as the chain of parents leads, and returns it.
func descendants(pid int, list []int) []int {
	const most = 10_000 // even if a process starts children faster than they are listed
	for _, child := range children(pid) {
		if len(list) >= most {
			break
		}
		list = descendants(child, append(list, child))
	}
	return list
}

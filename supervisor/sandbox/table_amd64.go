package sandbox

import "golang.org/x/sys/unix"

const archAMD64 = 0xC000003E // AUDIT_ARCH_X86_64

// The flags of clone by which a runtime makes a thread: all is shared.
const (
	threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD
	threadWords = unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_SETTID | unix.CLONE_CHILD_CLEARTID
)

// controlFD is the descriptor on which a worker answers pings: wire.ControlFD.
const controlFD = 4

// table returns the system calls that the process with that id may make.
func table(pid uint64) (calls []call, arch uint32) {
	allow := func(number uint32, why string, args ...arg) {
		calls = append(calls, call{number: number, why: why, args: args})
	}
	is := func(index int, values ...uint64) arg { return arg{index: index, values: values} }

	// The most frequent calls come first: where the system does not remember the filter's answer, it reads the filter in order.
	allow(unix.SYS_READ, "frames")
	allow(unix.SYS_WRITE, "frames, the log, the runtime's wake-up of its poller")
	allow(unix.SYS_FUTEX, "locks of the runtime, and threads that wait")
	allow(unix.SYS_EPOLL_PWAIT, "the runtime's poller: timers, the socket of gRPC")
	allow(unix.SYS_EPOLL_CTL, "the runtime's poller")
	allow(unix.SYS_NANOSLEEP, "threads of the runtime that look for work")
	allow(unix.SYS_CLOCK_NANOSLEEP, "the same, in the C library")
	allow(unix.SYS_SCHED_YIELD, "locks of the runtime")
	allow(unix.SYS_MADVISE, "memory that the collector gives back")
	allow(unix.SYS_MUNMAP, "memory that the runtime gives back")
	allow(unix.SYS_MMAP, "memory of this process alone, not executable, of no file",
		arg{index: 2, ignore: unix.PROT_READ | unix.PROT_WRITE, values: []uint64{0}},
		arg{index: 3, ignore: unix.MAP_FIXED | unix.MAP_NORESERVE | unix.MAP_STACK, values: []uint64{unix.MAP_PRIVATE | unix.MAP_ANONYMOUS}})
	allow(unix.SYS_MPROTECT, "guard pages, never executable",
		arg{index: 2, ignore: unix.PROT_READ | unix.PROT_WRITE, values: []uint64{0}})
	allow(unix.SYS_BRK, "memory of the C library")
	allow(unix.SYS_MINCORE, "the runtime's check of the page size")
	allow(unix.SYS_CLONE, "threads, never processes or namespaces",
		arg{index: 0, ignore: threadWords, values: []uint64{threadFlags}})
	calls = append(calls, call{number: unix.SYS_CLONE3, why: "the C library falls back to clone, whose flags a filter can read", errno: uint32(unix.ENOSYS)})
	allow(unix.SYS_SET_ROBUST_LIST, "a new thread of the C library")
	allow(unix.SYS_RSEQ, "a new thread of the C library")
	allow(unix.SYS_RT_SIGACTION, "handlers of the runtime")
	allow(unix.SYS_RT_SIGPROCMASK, "a thread that begins or ends")
	allow(unix.SYS_RT_SIGRETURN, "the end of a handler")
	allow(unix.SYS_SIGALTSTACK, "a thread that begins")
	allow(unix.SYS_TGKILL, "the runtime interrupts its own threads", is(0, pid))
	allow(unix.SYS_KILL, "a worker that ends itself by SIGKILL (worker/signals.go)", is(0, pid), is(1, uint64(unix.SIGKILL)))
	allow(unix.SYS_GETPID, "tgkill")
	allow(unix.SYS_GETTID, "tgkill")
	allow(unix.SYS_SCHED_GETAFFINITY, "the number of processors")
	allow(unix.SYS_GETCPU, "the C library, where there is no vDSO")
	allow(unix.SYS_CLOCK_GETTIME, "the time, where there is no vDSO")
	allow(unix.SYS_GETTIMEOFDAY, "the time, where there is no vDSO")
	allow(unix.SYS_GETRANDOM, "seeds of maps, crypto/rand")
	allow(unix.SYS_PRCTL, "names of memory areas", is(0, unix.PR_SET_VMA))
	allow(unix.SYS_PPOLL, "the thread that watches for the end of the kernel (worker/watch.go)")
	allow(unix.SYS_RESTART_SYSCALL, "a poll or sleep that a stop has interrupted")
	allow(unix.SYS_SENDTO, "the answer to a ping, to no address", is(0, controlFD), is(4, 0))
	allow(unix.SYS_READV, "gRPC")
	allow(unix.SYS_WRITEV, "gRPC")
	allow(unix.SYS_ACCEPT4, "the kernel's connection to a worker over gRPC; without a listener, which no worker can make, it fails")
	allow(unix.SYS_GETSOCKNAME, "the connection of gRPC")
	allow(unix.SYS_GETPEERNAME, "the connection of gRPC")
	allow(unix.SYS_SHUTDOWN, "the connection of gRPC")
	allow(unix.SYS_FCNTL, "flags of a descriptor",
		is(1, unix.F_GETFD, unix.F_SETFD, unix.F_GETFL, unix.F_SETFL))
	allow(unix.SYS_CLOSE, "descriptors that are not needed")
	allow(unix.SYS_EXIT, "the end of a thread")
	allow(unix.SYS_EXIT_GROUP, "the end of the process")
	return calls, archAMD64
}

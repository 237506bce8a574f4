package sandbox

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// A call is a system call that the filter allows. Every other fails with EPERM.
type call struct {
	number uint32
	// why says what the call is for.
	why string
	// args must all hold; else the call fails with EPERM.
	args []arg
	// errno, if not zero, is the error with which the call always fails.
	errno uint32
}

// An arg holds if the argument of that index, without the bits of ignore, is one of values.
type arg struct {
	index  int
	ignore uint64
	values []uint64
}

// Where the system puts what a filter reads (struct seccomp_data).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

const deny = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)

// assemble makes the filter for the process with that id.
func assemble(pid uint64) ([]bpf.RawInstruction, error) {
	calls, arch := table(pid)
	if calls == nil {
		return nil, fmt.Errorf("there is no table of system calls for %s", runtime.GOARCH)
	}
	ret := func(what uint32) bpf.Instruction { return bpf.RetConstant{Val: what} }
	program := []bpf.Instruction{
		// Another architecture has other numbers, and so have the 32-bit calls of this one (x32).
		bpf.LoadAbsolute{Off: offsetArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: arch, SkipTrue: 1},
		ret(unix.SECCOMP_RET_KILL_PROCESS),
		bpf.LoadAbsolute{Off: offsetNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 0x40000000, SkipTrue: 1},
		ret(unix.SECCOMP_RET_KILL_PROCESS),
	}
	for _, c := range calls {
		var body []bpf.Instruction
		for _, a := range c.args {
			body = append(body, a.check()...)
		}
		if c.errno != 0 {
			body = append(body, ret(unix.SECCOMP_RET_ERRNO|c.errno))
		} else {
			body = append(body, ret(unix.SECCOMP_RET_ALLOW))
		}
		if len(body) > 255 {
			return nil, fmt.Errorf("the checks of system call %d are too long", c.number)
		}
		program = append(program, bpf.JumpIf{Cond: bpf.JumpEqual, Val: c.number, SkipFalse: uint8(len(body))})
		program = append(program, body...)
	}
	return bpf.Assemble(append(program, ret(deny)))
}

// check goes on behind its end if a holds, and denies the call if not.
func (a arg) check() []bpf.Instruction {
	// The machine has words of 32 bits, the arguments have 64, and amd64 has the low word first.
	half := func(high uint32) []bpf.Instruction {
		out := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetArgs + uint32(a.index)*8 + high*4, Size: 4}}
		if ignore := uint32(a.ignore >> (32 * high)); ignore != 0 {
			out = append(out, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^ignore})
		}
		return out
	}
	var alternatives []bpf.Instruction
	low, high := half(0), half(1)
	// Each alternative: low word equal, else the next one; high word equal, else the next one; then over the rest.
	size := len(low) + 1 + len(high) + 1 + 1
	for i, v := range a.values {
		alternatives = append(alternatives, low...)
		alternatives = append(alternatives, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(v), SkipFalse: uint8(len(high) + 2)})
		alternatives = append(alternatives, high...)
		alternatives = append(alternatives, bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(v >> 32), SkipFalse: 1})
		alternatives = append(alternatives, bpf.Jump{Skip: uint32((len(a.values)-1-i)*size + 1)})
	}
	return append(alternatives, bpf.RetConstant{Val: deny})
}

// install puts the filter over all threads of this process, with no_new_privs, which the calling thread has.
func install(program []bpf.RawInstruction) error {
	r, err := seccomp(program, unix.SECCOMP_FILTER_FLAG_TSYNC)
	if err == nil && r != 0 { // the id of a thread that has a filter of its own; then no thread got this one
		err = fmt.Errorf("install the filter: thread %d has another filter", r)
	}
	return err
}

func seccomp(program []bpf.RawInstruction, flags uintptr) (thread uintptr, err error) {
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
	runtime.KeepAlive(&prog)
	if errno != 0 {
		return 0, fmt.Errorf("install the filter: %w", errno)
	}
	return r, nil
}

// available reports, as nil, that the system offers filters with that action.
func available(action *uint32) error {
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(action)))
	runtime.KeepAlive(action)
	if errno != 0 {
		return fmt.Errorf("this system does not offer seccomp filters: %w", errno)
	}
	return nil
}

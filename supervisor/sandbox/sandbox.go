// Package sandbox confines worker processes.
//
// A worker program of ours confines itself: [Begin] at its start, and [Policy.Confine] when it has all descriptors that it needs,
// before it reads a delivery or runs any code of a vat. The kernel then checks the process from outside, by [Policy.Verify], before
// it hands over the first delivery. The policy crosses from one to the other as one variable of the environment, [Key].
//
// # Layers
//
// The floor is no_new_privs, the resource limits and the seccomp filter: below it no worker starts, unless the mode is [Off].
// Landlock is above the floor: [BestEffort] goes on without it, [Required] does not. docs/sandbox.md says what each layer
// leaves open.
//
// # Trust
//
// Confine protects against a vat's code that turns hostile after it was started. It does not protect against a program that
// never calls it: that one Verify finds, but only when it has said hello.
package sandbox

import (
	"fmt"
	"strconv"
	"strings"
)

// Mode says how much confinement a worker must have. A greater mode is stricter.
type Mode int

const (
	// Off confines nothing.
	Off Mode = iota
	// BestEffort demands the floor, and takes all other layers that the system offers.
	BestEffort
	// Required demands all layers.
	Required
)

// Modes are the names of the modes, in the order of strictness.
func Modes() []string { return []string{"off", "best-effort", "required"} }

// ParseMode returns the mode of that name.
func ParseMode(name string) (Mode, bool) {
	for i, n := range Modes() {
		if n == name {
			return Mode(i), true
		}
	}
	return 0, false
}

// String is the mode's name.
func (m Mode) String() string {
	if m < Off || m > Required {
		return fmt.Sprintf("Mode(%d)", int(m))
	}
	return Modes()[m]
}

// Limits are the resource limits of a worker process. The kernel of the operating system enforces them; a process under the
// filter cannot raise them.
type Limits struct {
	// DataBytes bounds private writable memory (RLIMIT_DATA). A Go program needs about 80 MiB of it for its runtime. The
	// address space is not bounded: Go reserves more of it than it uses.
	DataBytes uint64
	// Files bounds open descriptors (RLIMIT_NOFILE).
	Files uint64
	// StackBytes bounds the stack of the first thread (RLIMIT_STACK).
	StackBytes uint64
}

// DefaultLimits are the limits that hold unless others are configured.
func DefaultLimits() Limits { return Limits{DataBytes: 1 << 30, Files: 64, StackBytes: 8 << 20} }

// The least limits with which a worker program of ours starts.
const (
	minDataBytes  = 128 << 20
	minFiles      = 16
	minStackBytes = 128 << 10
)

func (l Limits) check() error {
	switch {
	case l.DataBytes < minDataBytes:
		return fmt.Errorf("sandbox: a worker needs at least %d bytes of data, not %d", minDataBytes, l.DataBytes)
	case l.Files < minFiles:
		return fmt.Errorf("sandbox: a worker needs at least %d descriptors, not %d", minFiles, l.Files)
	case l.StackBytes < minStackBytes:
		return fmt.Errorf("sandbox: a worker needs at least %d bytes of stack, not %d", minStackBytes, l.StackBytes)
	}
	return nil
}

// Policy says how one worker is to be confined.
type Policy struct {
	Mode   Mode
	Limits Limits
}

// Key is the variable of the environment by which a kernel tells a worker its policy. Without the variable the mode is Off.
const Key = "OCAPKERNEL_CONFINE"

// String is the policy as the value of [Key].
func (p Policy) String() string {
	return fmt.Sprintf("%s %d %d %d", p.Mode, p.Limits.DataBytes, p.Limits.Files, p.Limits.StackBytes)
}

// ParsePolicy reads the value of [Key]. The empty string is the policy of mode Off.
func ParsePolicy(s string) (Policy, error) {
	if s == "" {
		return Policy{}, nil
	}
	fields := strings.Fields(s)
	if len(fields) != 4 {
		return Policy{}, fmt.Errorf("sandbox: %q is no policy", s)
	}
	mode, ok := ParseMode(fields[0])
	if !ok {
		return Policy{}, fmt.Errorf("sandbox: %q is no mode", fields[0])
	}
	p := Policy{Mode: mode}
	for i, to := range []*uint64{&p.Limits.DataBytes, &p.Limits.Files, &p.Limits.StackBytes} {
		n, err := strconv.ParseUint(fields[1+i], 10, 64)
		if err != nil {
			return Policy{}, fmt.Errorf("sandbox: %q is no policy: %w", s, err)
		}
		*to = n
	}
	return p, nil
}

// The names of the layers, in messages and in the status of a kernel.
const (
	LayerNoNewPrivs   = "no_new_privs"
	LayerLimits       = "rlimits"
	LayerSeccomp      = "seccomp"
	LayerLandlock     = "landlock"
	LayerCapabilities = "capabilities"
)

// LayerError is the error that a layer is missing.
type LayerError struct {
	Layer string
	Err   error
	// Hint says how to get the layer.
	Hint string
}

func (e *LayerError) Error() string {
	return fmt.Sprintf("sandbox: layer %s is missing: %v (%s)", e.Layer, e.Err, e.Hint)
}

func (e *LayerError) Unwrap() error { return e.Err }

const (
	seccompHint  = "it needs Linux with CONFIG_SECCOMP_FILTER on amd64, or run the kernel with sandbox off"
	landlockHint = "it needs Linux 5.13 or later with landlock in /sys/kernel/security/lsm, and a program built with CGO_ENABLED=0, or run with sandbox best-effort"
	limitsHint   = "the limits must not lie above the hard limits of the kernel process; see ulimit -H"
	ownHint      = "the worker program must use package worker or vat of this version, or run with sandbox off"
)

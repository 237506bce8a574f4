package engine

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"time"
)

// Errors of this package that callers branch on.
var (
	// ErrFuel says that a call has spent the fuel of the last grant. The VM is usable after the next grant; promise jobs
	// that have not run are still there.
	ErrFuel = errors.New("out of fuel")
	// ErrMemory says that a call needed more memory than the limit, or a string of more than 2**30 units. The VM is usable.
	ErrMemory = errors.New("out of memory")
	// ErrBroken says that the engine itself failed, for instance at an access outside its memory. The VM is closed, and
	// what it did since its last image is lost.
	ErrBroken = errors.New("the JavaScript engine broke")
	// ErrClosed says that the VM was closed.
	ErrClosed = errors.New("the JavaScript engine is closed")
	// ErrNotBuilt says that this program was built without the engine.
	ErrNotBuilt = errors.New("this program was built without JavaScript: install npm, and run make build again")
)

// Error is an exception of a script that ended a call.
type Error struct {
	// Message is the exception as text.
	Message string
	// Stack names the functions that were active, with file, line and column; "" if the script threw something that has
	// no stack.
	Stack string

	cause error
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns [ErrFuel] or [ErrMemory] if a limit ended the call.
func (e *Error) Unwrap() error { return e.cause }

const (
	// DefaultMemory is the limit of memory, in bytes, where [Options] have none.
	DefaultMemory = 64 << 20
	// MaxMemory is the highest limit of memory, in bytes. The address space is larger than the limit by what fragments.
	MaxMemory = maxMemory - maxMemory/8

	minMemory = 4 << 20
	// stackBytes limits the stack of scripts. The module has 1 MiB of it; functions of the engine that do not check need the rest.
	stackBytes = 512 << 10

	// A poll stands for so many calls and loops: QuickJS counts them down in its own memory.
	pollFuel = 10_000
	// A promise job is worth so much fuel besides the polls within it, since most jobs are too short for one.
	jobFuel = 100
	// firstFuel is what a VM has before its first grant: without an end, a script that came before it would have none.
	firstFuel = 100_000_000
)

// Options are what a VM needs of its maker.
type Options struct {
	// Host answers the script's hostCall(operation, text); the script gets the answer as a string, nil as undefined, and an error as
	// an Error with its text as the message. Host may not call the VM. Nil refuses all operations.
	Host func(operation string, text []byte) ([]byte, error)
	// Memory is the limit of what the script's values take, in bytes: at most [MaxMemory]; 0 is [DefaultMemory].
	Memory int
}

// Grant is what the calls that follow may spend and see. It is part of an image.
type Grant struct {
	// Fuel is the number of units that the calls may spend together. One unit is a call or a jump of a loop, which has one or two
	// of them a turn; a promise job takes 100 more. The engine looks every 10,000 units, so that calls may exceed the grant by that much.
	Fuel uint64
	// Now is the time on the script's clock, which stands still until the next grant; the zero time is 1970. The time zone is UTC.
	Now time.Time
	// Seed determines the random bytes that the module is given. Math.random goes on from its state in the heap, whatever the
	// seed is: a caller that wants other numbers replaces it.
	Seed uint64
}

// VM is a JavaScript heap. [VM.Close] releases it.
type VM struct {
	module
	options  Options
	reserved reservation
	state    state
	// exhausted is set when a poll has found no fuel during the current call.
	exhausted bool
	busy      bool
	// hostPanic is set while a panic of Options.Host passes through the module.
	hostPanic bool
	failure   error // why the VM is of no use any more
	graph     []int64
}

// state is all of a VM that is not in its memory.
type state struct {
	fuel  uint64 // left of the grant
	spent uint64
	now   int64 // nanoseconds since 1970
	dice  uint64
}

//go:embed harden.js
var hardenSource string

// New makes a VM with an empty heap and the global functions hostCall and harden. The caller closes it.
//
// harden(x) freezes x and all that can be reached from it by properties and prototypes, as SES's does, which takes it for its own if
// it is evaluated in the VM. Until SES's lockdown it trusts the scripts of the VM not to replace methods of the language.
func New(o Options) (*VM, error) { return create(o, newModule) }

// create is New with a maker of the module.
func create(o Options, newModule func(environment, wasi) (module, error)) (_ *VM, err error) {
	v, err := prepare(o, newModule)
	if err != nil {
		return nil, err
	}
	initial := v.bytes()
	v.adopt(v.reserved[:copy(v.reserved, initial)])
	err = v.run(func() error {
		v.X_initialize()
		if r := v.Xqjs_init(); r != 0 {
			return fmt.Errorf("start QuickJS: result %d", r)
		}
		v.limit()
		v.hostFunction(callName)
		v.hostFunction(hardenName)
		return nil
	})
	if err == nil {
		_, err = v.Eval(hardenSource, "harden.js")
	}
	if err != nil {
		_ = v.Close() // the first error is the one to tell
		return nil, err
	}
	return v, nil
}

// prepare makes a VM whose memory is still the module's own.
func prepare(o Options, newModule func(environment, wasi) (module, error)) (*VM, error) {
	if o.Memory == 0 {
		o.Memory = DefaultMemory
	}
	if o.Memory < minMemory || o.Memory > MaxMemory {
		return nil, fmt.Errorf("a memory limit of %d bytes: it is between %d and %d", o.Memory, minMemory, MaxMemory)
	}
	v := &VM{options: o, state: state{fuel: firstFuel}}
	m, err := newModule(imports{v}, imports{v})
	if err != nil {
		return nil, err
	}
	v.module = m
	v.reserved, err = reserve(maxMemory)
	return v, err
}

// limit sets what the module does not keep, or what an image may have wrong.
func (v *VM) limit() {
	v.Xqjs_set_memory_limit(int32(v.options.Memory))
	v.Xqjs_set_max_stack_size(stackBytes)
	v.Xqjs_set_interrupt_handler(1)
}

// Grant replaces the grant that holds. A VM that has had none has 100,000,000 units of fuel, which last for seconds, a clock
// that stands at 1970, and the seed 0.
func (v *VM) Grant(g Grant) {
	v.state.fuel, v.state.now, v.state.dice = g.Fuel, 0, g.Seed
	if !g.Now.IsZero() {
		v.state.now = g.Now.UnixNano()
	}
}

// Spent returns the fuel that calls have taken since the VM was made, those before its image included.
func (v *VM) Spent() uint64 { return v.state.spent }

// Eval runs a script, and returns its completion value as text, nil for undefined. Stacks name positions in file.
//
// An exception is an [*Error]; [ErrFuel], [ErrMemory] and [ErrBroken] can be told by errors.Is. Jobs of promises do not run.
func (v *VM) Eval(source, file string) (result []byte, err error) {
	err = v.run(func() error {
		code := v.put([]byte(source))
		name := v.put([]byte(file))
		x := v.Xqjs_eval(code, int32(len(source)), name, 0)
		v.Xwasm_free(code)
		v.Xwasm_free(name)
		result, err = v.result(x)
		return err
	})
	return result, err
}

// Call calls a global function with one string, and returns its result as text, nil for undefined. Its errors are those of Eval.
func (v *VM) Call(function string, text []byte) (result []byte, err error) {
	err = v.run(func() error {
		// Handles are looked up for each call and kept by none: they are in the heap, and two VMs that are to stay equal
		// would have to keep the same ones.
		name := v.put([]byte(function))
		global := v.Xqjs_get_global()
		f := v.Xqjs_get_prop_string(global, name)
		v.Xqjs_free_value(global)
		v.Xwasm_free(name)
		this, arg, argv := v.Xqjs_get_undefined(), v.newString(text), v.alloc(4)
		binary.LittleEndian.PutUint32(v.bytes()[argv:], uint32(arg))
		x := v.Xqjs_call(f, this, 1, argv)
		v.Xwasm_free(argv)
		v.Xqjs_free_value(arg)
		v.Xqjs_free_value(this)
		v.Xqjs_free_value(f)
		result, err = v.result(x)
		return err
	})
	return result, err
}

// RunJobs runs promise jobs, also those that jobs add, until none is left or one throws, and returns how many have run. Its errors are those
// of Eval; behind an exception, the next RunJobs goes on with the rest.
func (v *VM) RunJobs() (n int, err error) {
	err = v.run(func() error {
		for v.Xqjs_is_job_pending() != 0 {
			if v.state.fuel < jobFuel {
				v.exhausted = true
				return &Error{Message: ErrFuel.Error(), cause: ErrFuel}
			}
			v.spend(jobFuel)
			n++
			if v.Xqjs_execute_pending_job() < 0 {
				return v.exception()
			}
			if v.exhausted {
				return &Error{Message: ErrFuel.Error(), cause: ErrFuel}
			}
		}
		return nil
	})
	return n, err
}

// Collect frees cycles that nothing reaches, and queues the jobs of finalizers. It takes milliseconds.
func (v *VM) Collect() error {
	return v.run(func() error { v.Xqjs_run_gc(); return nil })
}

// Memory returns the VM's memory, to be read, and valid until the next call; nil after Close. VMs that were given the same inputs have the same memory.
func (v *VM) Memory() []byte {
	if v.failure != nil {
		return nil
	}
	return v.bytes()
}

// Close releases all memory of the VM. It may be called again.
func (v *VM) Close() error {
	if v.failure == nil {
		v.fail(ErrClosed)
	}
	return nil
}

func (v *VM) fail(err error) {
	v.failure = err
	v.adopt(nil)
	v.reserved.release()
}

func (v *VM) spend(units uint64) {
	v.state.spent += units
	v.state.fuel -= min(units, v.state.fuel)
}

// outOfMemory is the panic of a function that could not allocate, before the module has begun anything.
type outOfMemory struct{}

// run runs a step in the module. It turns a panic of the translated module, which is what an access outside its memory is, into the end of the VM:
// such a step has left its data half changed.
func (v *VM) run(step func() error) (err error) {
	if v.failure != nil {
		return v.failure
	}
	if v.busy {
		return errors.New("the host called the engine from within hostCall")
	}
	v.busy, v.exhausted = true, false
	// An image file that is cut short under its mapping is a fault, too.
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		v.busy = false
		switch r := recover().(type) {
		case nil:
		case outOfMemory:
			err = ErrMemory
		default:
			v.fail(fmt.Errorf("%w: %v", ErrBroken, r))
			if v.hostPanic {
				panic(r)
			}
			err = v.failure
		}
	}()
	return step()
}

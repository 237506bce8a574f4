package engine

import (
	"encoding/binary"
	"errors"
)

// The global functions of the engine. Their names are in images; hostCall takes the operation as an argument, so that a later build can add
// operations to a heap that is there.
const (
	callName   = "hostCall"
	hardenName = "nativeHarden" // harden.js takes it out of the global object
)

// imports are the functions that the module imports.
type imports struct{ v *VM }

// Xhost_interrupt is the poll. It returns 1 to end the call with an exception that the script cannot catch.
func (i imports) Xhost_interrupt() int32 {
	v := i.v
	if v.state.fuel < pollFuel {
		v.exhausted = true
		return 1
	}
	v.spend(pollFuel)
	return 0
}

// Xhost_call is a call of a host function by the script. It returns a handle, or 0 with an exception pending.
func (i imports) Xhost_call(name, size, _, argc, argv int32) (result int32) {
	v := i.v
	defer func() {
		// The module's frames below must end in their own way.
		if r := recover(); r == (outOfMemory{}) {
			v.XJS_ThrowOutOfMemory(v.Xqjs_get_context_ptr())
			result = 0
		} else if r != nil {
			panic(r)
		}
	}()
	if string(v.bytes()[name:][:size]) == hardenName {
		return v.harden(argc, argv)
	}
	if argc < 2 {
		return v.throw(errors.New(callName + " needs an operation and a text"))
	}
	operation, ok := v.text(v.word(argv))
	if !ok {
		return 0
	}
	text, ok := v.text(v.word(argv + 4))
	if !ok {
		return 0
	}
	answer, err := v.ask(string(operation), text)
	switch {
	case err != nil:
		return v.throw(err)
	case answer == nil:
		return v.Xqjs_get_undefined()
	default:
		return v.newString(answer)
	}
}

func (v *VM) ask(operation string, text []byte) ([]byte, error) {
	if v.options.Host == nil {
		return nil, errors.New("no host operation " + operation)
	}
	v.hostPanic = true
	answer, err := v.options.Host(operation, text)
	v.hostPanic = false
	return answer, err
}

// throw makes an Error of err the pending exception, and returns 0.
func (v *VM) throw(err error) int32 {
	x := v.Xqjs_new_error()
	text := v.newString([]byte(err.Error()))
	name := v.put([]byte("message"))
	v.Xqjs_set_prop_string(x, name, text)
	v.Xwasm_free(name)
	v.Xqjs_free_value(text)
	v.Xqjs_free_value(v.Xqjs_throw(x))
	v.Xqjs_free_value(x)
	return 0
}

func (v *VM) hostFunction(name string) {
	p := v.put([]byte(name))
	f := v.Xqjs_new_host_function(p, int32(len(name)), 0)
	global := v.Xqjs_get_global()
	v.Xqjs_set_prop_string(global, p, f)
	v.Xqjs_free_value(global)
	v.Xqjs_free_value(f)
	v.Xwasm_free(p)
}

// word reads 32 bits of the module's memory.
func (v *VM) word(p int32) int32 { return int32(binary.LittleEndian.Uint32(v.bytes()[p:])) }

// value reads a JavaScript value in the module's memory.
func (v *VM) value(p int32) int64 { return int64(binary.LittleEndian.Uint64(v.bytes()[p:])) }

// The engine has no module loader and no rejection tracker, so that the next three are never called.

func (imports) Xhost_module_load(int32, int32) int32      { panic("engine: module loader") }
func (imports) Xhost_module_normalize(int32, int32) int32 { panic("engine: module loader") }
func (imports) Xhost_promise_rejection(_, _, _ int32)     { panic("engine: rejection tracker") }

func (imports) Xhost_get_timezone_offset(int32, int32) int32 { return 0 }

// The results of WASI.
const (
	wasiOK      = 0
	wasiBadFile = 8
)

func (i imports) Xclock_time_get(_ int32, _ int64, p int32) int32 {
	binary.LittleEndian.PutUint64(i.v.bytes()[p:], uint64(i.v.state.now))
	return wasiOK
}

// Xrandom_get fills memory with the bytes of splitmix64.
func (i imports) Xrandom_get(p, size int32) int32 {
	var block [8]byte
	for b := i.v.bytes()[p:][:size]; len(b) > 0; {
		i.v.state.dice += 0x9e3779b97f4a7c15
		z := i.v.state.dice
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(block[:], z^z>>31)
		b = b[copy(b, block[:]):]
	}
	return wasiOK
}

// There are no files, also no standard output.

func (imports) Xfd_close(int32) int32                      { return wasiBadFile }
func (imports) Xfd_fdstat_get(int32, int32) int32          { return wasiBadFile }
func (imports) Xfd_seek(int32, int64, int32, int32) int32  { return wasiBadFile }
func (imports) Xfd_write(int32, int32, int32, int32) int32 { return wasiBadFile }

package engine

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// interpreted is the same module under wazero, with the very host code of this package: what differs is the translation.
type interpreted struct {
	module api.Module
	memory api.Memory
	stack  api.MutableGlobal
	// An api.Function is not re-entrant: each depth of calls from within imports has its own.
	depth     int
	functions []map[string]api.Function
}

type importsKey struct{}

// compiled is the module, compiled once a process.
var compiled = sync.OnceValues(func() (wazero.Runtime, error) {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithMemoryLimitPages(maxMemory>>16))
	define := func(b wazero.HostModuleBuilder, name string, in string, result bool, f func(i *hosted, s []uint64)) {
		var params, results []api.ValueType
		for _, c := range in {
			params = append(params, map[rune]api.ValueType{'i': api.ValueTypeI32, 'l': api.ValueTypeI64}[c])
		}
		if result {
			results = []api.ValueType{api.ValueTypeI32}
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, s []uint64) {
			h := ctx.Value(importsKey{}).(*hosted)
			h.m.depth++
			f(h, s)
			h.m.depth--
		}), params, results).Export(name)
	}
	i := func(x uint64) int32 { return int32(uint32(x)) }
	set := func(s []uint64, x int32) { s[0] = uint64(uint32(x)) }

	env := r.NewHostModuleBuilder("env")
	define(env, "host_call", "iiiii", true, func(h *hosted, s []uint64) { set(s, h.e.Xhost_call(i(s[0]), i(s[1]), i(s[2]), i(s[3]), i(s[4]))) })
	define(env, "host_get_timezone_offset", "ii", true, func(h *hosted, s []uint64) { set(s, h.e.Xhost_get_timezone_offset(i(s[0]), i(s[1]))) })
	define(env, "host_interrupt", "", true, func(h *hosted, s []uint64) { set(s, h.e.Xhost_interrupt()) })
	define(env, "host_module_load", "ii", true, func(h *hosted, s []uint64) { set(s, h.e.Xhost_module_load(i(s[0]), i(s[1]))) })
	define(env, "host_module_normalize", "ii", true, func(h *hosted, s []uint64) { set(s, h.e.Xhost_module_normalize(i(s[0]), i(s[1]))) })
	define(env, "host_promise_rejection", "iii", false, func(h *hosted, s []uint64) { h.e.Xhost_promise_rejection(i(s[0]), i(s[1]), i(s[2])) })
	if _, err := env.Instantiate(ctx); err != nil {
		return nil, err
	}
	w := r.NewHostModuleBuilder("wasi_snapshot_preview1")
	define(w, "clock_time_get", "ili", true, func(h *hosted, s []uint64) { set(s, h.w.Xclock_time_get(i(s[0]), int64(s[1]), i(s[2]))) })
	define(w, "fd_close", "i", true, func(h *hosted, s []uint64) { set(s, h.w.Xfd_close(i(s[0]))) })
	define(w, "fd_fdstat_get", "ii", true, func(h *hosted, s []uint64) { set(s, h.w.Xfd_fdstat_get(i(s[0]), i(s[1]))) })
	define(w, "fd_seek", "ilii", true, func(h *hosted, s []uint64) { set(s, h.w.Xfd_seek(i(s[0]), int64(s[1]), i(s[2]), i(s[3]))) })
	define(w, "fd_write", "iiii", true, func(h *hosted, s []uint64) { set(s, h.w.Xfd_write(i(s[0]), i(s[1]), i(s[2]), i(s[3]))) })
	define(w, "random_get", "ii", true, func(h *hosted, s []uint64) { set(s, h.w.Xrandom_get(i(s[0]), i(s[1]))) })
	if _, err := w.Instantiate(ctx); err != nil {
		return nil, err
	}
	return r, nil
})

var quickjsWasm = sync.OnceValues(func() (wazero.CompiledModule, error) {
	r, err := compiled()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile("../npm/node_modules/quickjs-wasi/quickjs.wasm")
	if err != nil {
		return nil, err
	}
	return r.CompileModule(context.Background(), b)
})

type hosted struct {
	m *interpreted
	e environment
	w wasi
}

// underWazero is a maker of modules, for create and restore.
func underWazero(t *testing.T) func(environment, wasi) (module, error) {
	t.Helper()
	code, err := quickjsWasm()
	if err != nil {
		t.Fatal(err)
	}
	return func(e environment, w wasi) (module, error) {
		r, err := compiled()
		if err != nil {
			return nil, err
		}
		m := &interpreted{}
		ctx := context.WithValue(context.Background(), importsKey{}, &hosted{m, e, w})
		m.module, err = r.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName("").WithStartFunctions())
		if err != nil {
			return nil, err
		}
		m.memory = m.module.Memory()
		m.stack = m.module.ExportedGlobal("__stack_pointer").(api.MutableGlobal)
		m.functions = []map[string]api.Function{}
		return contextual{m, ctx}, nil
	}
}

// contextual is the module with the context that leads its imports to their VM.
type contextual struct {
	*interpreted
	ctx context.Context
}

func (c contextual) call(name string, args ...uint64) uint64 {
	for len(c.functions) <= c.depth {
		c.functions = append(c.functions, map[string]api.Function{})
	}
	f := c.functions[c.depth][name]
	if f == nil {
		f = c.module.ExportedFunction(name)
		c.functions[c.depth][name] = f
	}
	r, err := f.Call(c.ctx, args...)
	if err != nil {
		panic(err)
	}
	if len(r) == 0 {
		return 0
	}
	return r[0]
}

func (c contextual) bytes() []byte {
	b, _ := c.memory.Read(0, c.memory.Size())
	return b
}

func (c contextual) adopt(b []byte) {
	if b == nil {
		_ = c.module.Close(c.ctx)
		return
	}
	if more := len(b) - int(c.memory.Size()); more > 0 {
		c.memory.Grow(uint32(more >> 16))
	}
	c.memory.Write(0, b)
}

func (c contextual) stackPointer() int32     { return int32(c.stack.Get()) }
func (c contextual) setStackPointer(p int32) { c.stack.Set(uint64(uint32(p))) }

func (c contextual) X_initialize() { c.call("_initialize") }
func (c contextual) Xwasm_malloc(size int32) int32 {
	return int32(uint32(c.call("wasm_malloc", uint64(uint32(size)))))
}
func (c contextual) Xwasm_free(p int32)          { c.call("wasm_free", uint64(uint32(p))) }
func (c contextual) Xqjs_init() int32            { return int32(uint32(c.call("qjs_init"))) }
func (c contextual) Xqjs_get_runtime_ptr() int32 { return int32(uint32(c.call("qjs_get_runtime_ptr"))) }

func (c contextual) Xqjs_get_context_ptr() int32 { return int32(uint32(c.call("qjs_get_context_ptr"))) }

func (c contextual) Xqjs_set_runtime_and_context(runtime, context int32) {
	c.call("qjs_set_runtime_and_context", uint64(uint32(runtime)), uint64(uint32(context)))
}

func (c contextual) Xqjs_set_memory_limit(size int32) {
	c.call("qjs_set_memory_limit", uint64(uint32(size)))
}

func (c contextual) Xqjs_set_max_stack_size(size int32) {
	c.call("qjs_set_max_stack_size", uint64(uint32(size)))
}

func (c contextual) Xqjs_set_interrupt_handler(on int32) {
	c.call("qjs_set_interrupt_handler", uint64(uint32(on)))
}
func (c contextual) Xqjs_run_gc() { c.call("qjs_run_gc") }
func (c contextual) Xqjs_eval(source, size, file, flags int32) int32 {
	return int32(uint32(c.call("qjs_eval", uint64(uint32(source)), uint64(uint32(size)), uint64(uint32(file)), uint64(uint32(flags)))))
}

func (c contextual) Xqjs_call(function, this, argc, argv int32) int32 {
	return int32(uint32(c.call("qjs_call", uint64(uint32(function)), uint64(uint32(this)), uint64(uint32(argc)), uint64(uint32(argv)))))
}

func (c contextual) Xqjs_is_job_pending() int32 { return int32(uint32(c.call("qjs_is_job_pending"))) }

func (c contextual) Xqjs_execute_pending_job() int32 {
	return int32(uint32(c.call("qjs_execute_pending_job")))
}

func (c contextual) Xqjs_new_string(p, size int32) int32 {
	return int32(uint32(c.call("qjs_new_string", uint64(uint32(p)), uint64(uint32(size)))))
}
func (c contextual) Xqjs_new_error() int32 { return int32(uint32(c.call("qjs_new_error"))) }
func (c contextual) Xqjs_new_host_function(name, size, constructor int32) int32 {
	return int32(uint32(c.call("qjs_new_host_function", uint64(uint32(name)), uint64(uint32(size)), uint64(uint32(constructor)))))
}
func (c contextual) Xqjs_get_global() int32    { return int32(uint32(c.call("qjs_get_global"))) }
func (c contextual) Xqjs_get_undefined() int32 { return int32(uint32(c.call("qjs_get_undefined"))) }
func (c contextual) Xqjs_get_true() int32      { return int32(uint32(c.call("qjs_get_true"))) }
func (c contextual) Xqjs_get_false() int32     { return int32(uint32(c.call("qjs_get_false"))) }
func (c contextual) Xqjs_get_prop_string(object, name int32) int32 {
	return int32(uint32(c.call("qjs_get_prop_string", uint64(uint32(object)), uint64(uint32(name)))))
}

func (c contextual) Xqjs_set_prop_string(object, name, value int32) int32 {
	return int32(uint32(c.call("qjs_set_prop_string", uint64(uint32(object)), uint64(uint32(name)), uint64(uint32(value)))))
}

func (c contextual) Xqjs_get_string_len(x, size int32) int32 {
	return int32(uint32(c.call("qjs_get_string_len", uint64(uint32(x)), uint64(uint32(size)))))
}
func (c contextual) Xqjs_free_cstring(p int32) { c.call("qjs_free_cstring", uint64(uint32(p))) }
func (c contextual) Xqjs_free_value(x int32)   { c.call("qjs_free_value", uint64(uint32(x))) }
func (c contextual) Xqjs_is_undefined(x int32) int32 {
	return int32(uint32(c.call("qjs_is_undefined", uint64(uint32(x)))))
}

func (c contextual) Xqjs_is_error(x int32) int32 {
	return int32(uint32(c.call("qjs_is_error", uint64(uint32(x)))))
}

func (c contextual) Xqjs_is_exception(x int32) int32 {
	return int32(uint32(c.call("qjs_is_exception", uint64(uint32(x)))))
}

func (c contextual) Xqjs_is_uncatchable_error(x int32) int32 {
	return int32(uint32(c.call("qjs_is_uncatchable_error", uint64(uint32(x)))))
}
func (c contextual) Xqjs_get_exception() int32 { return int32(uint32(c.call("qjs_get_exception"))) }
func (c contextual) Xqjs_throw(x int32) int32 {
	return int32(uint32(c.call("qjs_throw", uint64(uint32(x)))))
}

func (c contextual) XJS_Call(context int32, function, this int64, argc, argv int32) int64 {
	return int64(c.call("JS_Call", uint64(uint32(context)), uint64(function), uint64(this), uint64(uint32(argc)), uint64(uint32(argv))))
}

func (c contextual) XJS_FreeValue(context int32, x int64) {
	c.call("JS_FreeValue", uint64(uint32(context)), uint64(x))
}

func (c contextual) XJS_FreezeObject(context int32, x int64) int32 {
	return int32(uint32(c.call("JS_FreezeObject", uint64(uint32(context)), uint64(x))))
}

func (c contextual) XJS_GetException(context int32) int64 {
	return int64(c.call("JS_GetException", uint64(uint32(context))))
}

func (c contextual) XJS_GetOwnProperty(context, descriptor int32, x int64, atom int32) int32 {
	return int32(uint32(c.call("JS_GetOwnProperty", uint64(uint32(context)), uint64(uint32(descriptor)), uint64(x), uint64(uint32(atom)))))
}

func (c contextual) XJS_GetOwnPropertyNames(context, table, size int32, x int64, flags int32) int32 {
	return int32(uint32(c.call("JS_GetOwnPropertyNames", uint64(uint32(context)), uint64(uint32(table)), uint64(uint32(size)), uint64(x), uint64(uint32(flags)))))
}

func (c contextual) XJS_FreePropertyEnum(context, table, size int32) {
	c.call("JS_FreePropertyEnum", uint64(uint32(context)), uint64(uint32(table)), uint64(uint32(size)))
}

func (c contextual) XJS_GetPrototype(context int32, x int64) int64 {
	return int64(c.call("JS_GetPrototype", uint64(uint32(context)), uint64(x)))
}

func (c contextual) XJS_GetTypedArrayType(x int64) int32 {
	return int32(uint32(c.call("JS_GetTypedArrayType", uint64(x))))
}

func (c contextual) XJS_IsProxy(x int64) int32 { return int32(uint32(c.call("JS_IsProxy", uint64(x)))) }

func (c contextual) XJS_ThrowOutOfMemory(context int32) int64 {
	return int64(c.call("JS_ThrowOutOfMemory", uint64(uint32(context))))
}

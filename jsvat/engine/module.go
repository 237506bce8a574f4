package engine

// module is a QuickJS module: the translated one, or, in the tests, the same module under another runtime. Its methods are the
// exports of the module, under the names that the translation gives them.
//
// The qjs_ functions take and return handles: boxes in the heap that hold one value each, and that the caller frees. The JS_
// functions are the C API of QuickJS, and take values.
type module interface {
	// bytes returns the linear memory. The slice is valid until the module runs again, which may grow the memory.
	bytes() []byte
	// adopt makes b, which holds an image or the module's initial memory, the linear memory.
	adopt(b []byte)
	stackPointer() int32
	setStackPointer(int32)

	X_initialize()
	Xwasm_malloc(size int32) int32
	Xwasm_free(p int32)

	Xqjs_init() int32
	Xqjs_get_runtime_ptr() int32
	Xqjs_get_context_ptr() int32
	Xqjs_set_runtime_and_context(runtime, context int32)
	Xqjs_set_memory_limit(size int32)
	Xqjs_set_max_stack_size(size int32)
	Xqjs_set_interrupt_handler(on int32)
	Xqjs_run_gc()

	Xqjs_eval(source, size, file, flags int32) int32
	Xqjs_call(function, this, argc, argv int32) int32
	Xqjs_is_job_pending() int32
	Xqjs_execute_pending_job() int32

	Xqjs_new_string(p, size int32) int32
	Xqjs_new_error() int32
	Xqjs_new_host_function(name, size, constructor int32) int32
	Xqjs_get_global() int32
	Xqjs_get_undefined() int32
	Xqjs_get_true() int32
	Xqjs_get_false() int32
	Xqjs_get_prop_string(object, name int32) int32
	Xqjs_set_prop_string(object, name, value int32) int32
	Xqjs_get_string_len(x, size int32) int32
	Xqjs_free_cstring(p int32)
	Xqjs_free_value(x int32)
	Xqjs_is_undefined(x int32) int32
	Xqjs_is_error(x int32) int32
	Xqjs_is_exception(x int32) int32
	Xqjs_is_uncatchable_error(x int32) int32
	Xqjs_get_exception() int32
	Xqjs_throw(x int32) int32

	XJS_Call(context int32, function, this int64, argc, argv int32) int64
	XJS_FreeValue(context int32, x int64)
	XJS_FreezeObject(context int32, x int64) int32
	XJS_GetException(context int32) int64
	XJS_GetOwnProperty(context, descriptor int32, x int64, atom int32) int32
	XJS_GetOwnPropertyNames(context, table, size int32, x int64, flags int32) int32
	XJS_FreePropertyEnum(context, table, size int32)
	XJS_GetPrototype(context int32, x int64) int64
	XJS_GetTypedArrayType(x int64) int32
	XJS_IsProxy(x int64) int32
	XJS_ThrowOutOfMemory(context int32) int64
}

// environment and wasi are the imports of the module.
type environment interface {
	Xhost_call(name, size, this, argc, argv int32) int32
	Xhost_get_timezone_offset(low, high int32) int32
	Xhost_interrupt() int32
	Xhost_module_load(a, b int32) int32
	Xhost_module_normalize(a, b int32) int32
	Xhost_promise_rejection(promise, reason, handled int32)
}

type wasi interface {
	Xclock_time_get(clock int32, precision int64, p int32) int32
	Xfd_close(fd int32) int32
	Xfd_fdstat_get(fd, p int32) int32
	Xfd_seek(fd int32, offset int64, whence, p int32) int32
	Xfd_write(fd, vectors, n, p int32) int32
	Xrandom_get(p, size int32) int32
}

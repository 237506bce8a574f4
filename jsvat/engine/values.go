package engine

import "encoding/binary"

// alloc allocates in the module's memory.
func (v *VM) alloc(size int) int32 {
	p := v.Xwasm_malloc(int32(size))
	if p == 0 {
		panic(outOfMemory{})
	}
	return p
}

// put copies b into the module's memory, with a zero byte behind it.
func (v *VM) put(b []byte) int32 {
	p := v.alloc(len(b) + 1)
	m := v.bytes()[p:]
	copy(m[:len(b)], b)
	m[len(b)] = 0
	return p
}

// newString returns a handle of a string.
func (v *VM) newString(b []byte) int32 {
	p := v.put(b)
	x := v.Xqjs_new_string(p, int32(len(b)))
	v.Xwasm_free(p)
	return x
}

// text returns a value as text. It reports false if the conversion, which may run code of the script, has thrown.
func (v *VM) text(x int32) ([]byte, bool) {
	size := v.alloc(4)
	p := v.Xqjs_get_string_len(x, size)
	n := binary.LittleEndian.Uint32(v.bytes()[size:])
	v.Xwasm_free(size)
	if p == 0 {
		return nil, false
	}
	b := append([]byte{}, v.bytes()[p:][:n]...)
	v.Xqjs_free_cstring(p)
	return b, true
}

// result takes the handle of a result, and returns its text or its exception.
func (v *VM) result(x int32) ([]byte, error) {
	defer v.Xqjs_free_value(x)
	if v.Xqjs_is_exception(x) != 0 {
		return nil, v.exception()
	}
	if v.exhausted {
		return nil, &Error{Message: ErrFuel.Error(), cause: ErrFuel}
	}
	if v.Xqjs_is_undefined(x) != 0 {
		return nil, nil
	}
	b, ok := v.text(x)
	if !ok {
		return nil, v.exception()
	}
	return b, nil
}

// exception takes the exception that is pending.
func (v *VM) exception() error {
	x := v.Xqjs_get_exception()
	defer v.Xqjs_free_value(x)
	e := &Error{}
	switch {
	case v.exhausted:
		e.cause = ErrFuel
	case v.Xqjs_is_uncatchable_error(x) != 0:
		e.cause = ErrMemory
	}
	// Both may run code of the script, and throw again.
	e.Message = v.describe(x)
	if v.Xqjs_is_error(x) != 0 {
		name := v.put([]byte("stack"))
		stack := v.Xqjs_get_prop_string(x, name)
		v.Xwasm_free(name)
		e.Stack = v.describe(stack)
		v.Xqjs_free_value(stack)
	}
	if e.cause == nil && v.exhausted {
		e.cause = ErrFuel
	}
	return e
}

// describe returns a value as text, whatever happens.
func (v *VM) describe(x int32) string {
	if v.Xqjs_is_exception(x) == 0 {
		if b, ok := v.text(x); ok {
			return string(b)
		}
	}
	v.Xqjs_free_value(v.Xqjs_get_exception())
	return "(an exception that cannot be shown)"
}

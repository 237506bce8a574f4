package engine

import (
	"encoding/binary"
	"slices"
)

const (
	// The upper half of a value says of what type it is.
	tagObject    = -1
	tagException = 6
	// maxGraph is how many objects the native hardener walks; it looks for each in a list.
	maxGraph = 200
)

// harden freezes all objects that can be reached from a root and are not hardened yet, as harden.js does, over the C API of QuickJS. The
// arguments are the root, the WeakSet of hardened objects, and WeakSet's functions has and add. The answer to the script is true; false if
// harden.js must do it, because the graph has a proxy or a typed array, or is large.
//
// No code of the script runs in it, so that nothing changes the graph meanwhile. The objects in the list are kept alive by the objects that they
// were found in, which are frozen.
func (v *VM) harden(argc, argv int32) int32 {
	if argc != 4 {
		panic("engine: harden.js is not this build's")
	}
	arg := func(i int32) int64 { return v.value(v.word(argv + 4*i)) }
	root, set, has, add := arg(0), arg(1), arg(2), arg(3)
	context := v.Xqjs_get_context_ptr()
	scratch := v.alloc(48)
	defer v.Xwasm_free(scratch)
	table, size, descriptor := scratch+8, scratch+12, scratch+16

	call := func(f, x int64) int64 {
		binary.LittleEndian.PutUint64(v.bytes()[scratch:], uint64(x))
		return v.XJS_Call(context, f, set, 1, scratch)
	}
	list, failed := v.graph[:0], false
	defer func() { v.graph = list }()
	find := func(x int64) {
		if failed || x>>32 != tagObject || slices.Contains(list, x) {
			return
		}
		switch r := call(has, x); {
		case r>>32 == tagException:
			failed = true
		case int32(r) == 0:
			list = append(list, x)
		}
	}
	find(root)
	for i := 0; i < len(list) && !failed; i++ {
		object := list[i]
		if len(list) > maxGraph || v.XJS_IsProxy(object) != 0 || v.XJS_GetTypedArrayType(object) >= 0 {
			return v.Xqjs_get_false()
		}
		if v.XJS_FreezeObject(context, object) < 0 {
			return 0
		}
		prototype := v.XJS_GetPrototype(context, object)
		find(prototype)
		v.XJS_FreeValue(context, prototype)
		const stringsAndSymbols = 1 | 2
		if v.XJS_GetOwnPropertyNames(context, table, size, object, stringsAndSymbols) < 0 {
			return 0
		}
		names, n := v.word(table), v.word(size)
		for j := range n {
			atom := v.word(names + 8*j + 4)
			switch r := v.XJS_GetOwnProperty(context, descriptor, object, atom); {
			case r < 0:
				failed = true
			case r > 0:
				for _, p := range [...]int32{8, 16, 24} { // value, getter, setter
					x := v.value(descriptor + p)
					find(x)
					v.XJS_FreeValue(context, x)
				}
			}
		}
		v.XJS_FreePropertyEnum(context, names, n)
	}
	for _, object := range list {
		if failed {
			break
		}
		r := call(add, object)
		failed = r>>32 == tagException
		v.XJS_FreeValue(context, r)
	}
	if failed {
		return 0 // with the exception pending
	}
	return v.Xqjs_get_true()
}

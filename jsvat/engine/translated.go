//go:build quickjs

package engine

import "ocapkernel.dev/jsvat/quickjs"

// moduleID is the hash of the translated module.
const moduleID = quickjs.ID

// translated is the module as Go code.
type translated struct {
	*quickjs.Module
	memory *[]byte
}

func newModule(e environment, w wasi) (module, error) {
	m := quickjs.New(e, w)
	return translated{m, m.Xmemory().Slice()}, nil
}

func (t translated) bytes() []byte           { return *t.memory }
func (t translated) adopt(b []byte)          { *t.memory = b }
func (t translated) stackPointer() int32     { return *t.X__stack_pointer() }
func (t translated) setStackPointer(p int32) { *t.X__stack_pointer() = p }

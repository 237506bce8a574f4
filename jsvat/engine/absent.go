//go:build !quickjs

package engine

const moduleID = ""

func newModule(environment, wasi) (module, error) { return nil, ErrNotBuilt }

package model_test

import (
	"slices"
	"time"
)

// shrink makes a program smaller that fails, as long as that takes no more than a time: rapid gives up commands and
// operations one draw at a time, which is slow for long programs. fails runs a program.
func shrink(p program, most time.Duration, fails func(program) bool) program {
	end := time.Now().Add(most)
	for again := true; again; {
		again = false
		for n := len(p.Commands) / 2; n > 0; n /= 2 { // n commands at a time
			for i := 0; i+n < len(p.Commands) && time.Now().Before(end); { // the last one collects
				q := p
				q.Commands = slices.Delete(slices.Clone(p.Commands), i, i+n)
				if !fails(q) {
					i += n
					continue
				}
				p, again = q, true
			}
		}
		for i := range p.Commands {
			try := func(ops []op) bool {
				q := p
				q.Commands = slices.Clone(p.Commands)
				q.Commands[i].Ops = ops
				if time.Now().After(end) || !fails(q) {
					return false
				}
				p, again = q, true
				return true
			}
			shrinkOps(p.Commands[i].Ops, try)
		}
		if time.Now().After(end) {
			break
		}
	}
	return p
}

// shrinkOps leaves out operations, and what they name, one at a time. try reports whether others do in place of ops.
func shrinkOps(ops []op, try func([]op) bool) []op {
	for i := 0; i < len(ops); {
		if less := slices.Delete(slices.Clone(ops), i, i+1); try(less) {
			ops = less
			continue
		}
		change := func(f func(o *op)) bool {
			other := slices.Clone(ops)
			f(&other[i])
			if !try(other) {
				return false
			}
			ops = other
			return true
		}
		if ops[i].Do == "send" {
			change(func(o *op) { o.Args = nil })
			change(func(o *op) { o.Proms = nil })
			change(func(o *op) { o.Late = "" })
			shrinkOps(ops[i].Ops, func(sub []op) bool { return change(func(o *op) { o.Ops = sub }) })
		}
		i++
	}
	return ops
}

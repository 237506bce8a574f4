package engine_test

import (
	_ "embed"
	"testing"

	"ocapkernel.dev/jsvat/engine"
)

//go:embed testdata/graphs.js
var graphs string

// Random graphs of all kinds of objects: harden freezes each object that can be reached, answers its argument, and throws only for
// a typed array with an accessor.
func TestHardenFreezesAllThatCanBeReached(t *testing.T) {
	vm := newVM(t, engine.Options{Memory: 256 << 20})
	eval(t, vm, graphs)
	if got := eval(t, vm, `check(300)`); got != "" {
		t.Error(got)
	}
	if got := eval(t, vm, `summary()`); got != "enough" {
		t.Errorf("the graphs had %s", got)
	}
}

func TestHardenKeepsToItsRules(t *testing.T) {
	vm := newVM(t, engine.Options{})
	for source, want := range map[string]string{
		`harden(1) + harden('s') + String(harden(undefined)) + String(harden(null))`:                                                                                                                      "1sundefinednull",
		`(() => { const o = { get a() { return this }, s: Symbol() }; harden(o); return Object.isFrozen(o) && Object.isFrozen(Object.getOwnPropertyDescriptor(o, 'a').get) })()`:                          "true",
		`(() => { const a = new Uint8Array(3); harden(a); a[0] = 7; a.x = 1; return a[0] + String(a.x) + Object.isExtensible(a) })()`:                                                                     "7undefinedfalse",
		`(() => { const seen = []; const p = new Proxy({ inner: {} }, { ownKeys(t) { seen.push('keys'); return Reflect.ownKeys(t) } }); harden({ p }); return seen.length > 0 && Object.isFrozen(p) })()`: "true",
		`(() => { const big = Array.from({ length: 1000 }, () => ({ x: {} })); harden(big); return big.every(o => Object.isFrozen(o) && Object.isFrozen(o.x)) })()`:                                       "true",
		`(() => { let l = null; for (let i = 0; i < 20000; i++) l = { l }; harden(l); let n = 0; for (; l; l = l.l) n += Object.isFrozen(l); return n })()`:                                               "20000",
		`(() => { const m = harden(new Map()); m.set(1, 2); return m.get(1) })()`:                                                                                                                         "2",
		`(() => { const p = new Proxy({}, { preventExtensions() { return false } }); try { harden({ p }); return 'no error' } catch (e) { return e.name } })()`:                                           "TypeError",
	} {
		if got := eval(t, vm, source); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
	}
}

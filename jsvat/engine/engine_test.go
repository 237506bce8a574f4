package engine_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/jsvat/engine"
)

func newVM(t testing.TB, o engine.Options) *engine.VM {
	t.Helper()
	if engine.ID() == "" {
		t.Skip(engine.ErrNotBuilt)
	}
	vm, err := engine.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = vm.Close() })
	return vm
}

func eval(t testing.TB, vm *engine.VM, source string) string {
	t.Helper()
	b, err := vm.Eval(source, "test.js")
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return string(b)
}

func jobs(t testing.TB, vm *engine.VM) {
	t.Helper()
	if _, err := vm.RunJobs(); err != nil {
		t.Fatal(err)
	}
}

func TestTextCrossesInBothDirections(t *testing.T) {
	var asked []string
	vm := newVM(t, engine.Options{Host: func(operation string, text []byte) ([]byte, error) {
		asked = append(asked, operation)
		switch operation {
		case "none":
			return nil, nil
		case "empty":
			return []byte{}, nil
		case "refuse":
			return nil, errors.New("not " + string(text))
		}
		return text, nil
	}})
	eval(t, vm, `globalThis.twice = s => s + s; globalThis.count = s => s.length; globalThis.nothing = () => {}`)
	long := strings.Repeat("é\x00\U0001F600 ", 100_000)
	for _, text := range []string{"", "x", "é\x00\U0001F600", "\xed\xa0\x80 a lone surrogate", long} {
		got, err := vm.Call("twice", []byte(text))
		if err != nil || string(got) != text+text {
			t.Errorf("twice(%.20q): %.40q %v", text, got, err)
		}
	}
	if got, err := vm.Call("count", []byte("\U0001F600")); err != nil || string(got) != "2" {
		t.Errorf("a result that is no string: %q %v", got, err)
	}
	if got, err := vm.Call("nothing", nil); err != nil || got != nil {
		t.Errorf("undefined: %q %v", got, err)
	}
	if got, err := vm.Call("missing", nil); err == nil {
		t.Errorf("a function that is not there: %q", got)
	}
	for source, want := range map[string]string{
		`hostCall('echo', 'é\0\u{1f600}')`:        "é\x00\U0001F600",
		`hostCall('echo', '\ud800') === '\ud800'`: "true",
		`hostCall('echo', 12)`:                    "12",
		`typeof hostCall('none', '')`:             "undefined",
		`hostCall('empty', '') === ''`:            "true",
		`try { hostCall('refuse', 'it') } catch (e) { e.message + (e instanceof Error) }`: "not ittrue",
		`try { hostCall('alone') } catch (e) { e.message }`:                               "hostCall needs an operation and a text",
		`try { hostCall('echo', { toString() { throw 7 } }) } catch (e) { e }`:            "7",
	} {
		if got := eval(t, vm, source); got != want {
			t.Errorf("%s: %q, want %q", source, got, want)
		}
	}
	if len(asked) != 6 {
		t.Errorf("the host was asked %q", asked)
	}
}

func TestAnExceptionNamesItsPlace(t *testing.T) {
	vm := newVM(t, engine.Options{})
	_, err := vm.Eval("function f() {\n  null.x;\n}\nf()", "bundle.js")
	var e *engine.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, "TypeError") || !strings.Contains(e.Stack, "at f (bundle.js:2:") {
		t.Errorf("%v, stack %q", err, e.Stack)
	}
	_, err = vm.Eval("let x = ;", "bundle.js")
	if !errors.As(err, &e) || !strings.Contains(e.Message, "SyntaxError") || !strings.Contains(e.Stack, "bundle.js:1:9") {
		t.Errorf("%v, stack %q", err, e.Stack)
	}
	for _, source := range []string{`throw undefined`, `throw { toString() { throw 1 } }`, `throw { get stack() { throw 1 } }`, `throw Symbol()`, `Symbol()`} {
		if _, err := vm.Eval(source, "test.js"); !errors.As(err, &e) || errors.Is(err, engine.ErrFuel) || errors.Is(err, engine.ErrMemory) {
			t.Errorf("%s: %v", source, err)
		}
	}
	if _, err := vm.Eval(`Promise.resolve().then(() => { globalThis.later = 1 }); queueMicrotask(() => { throw Error('in a job') })`, "test.js"); err != nil {
		t.Fatal(err)
	}
	if _, err := vm.RunJobs(); err == nil || !strings.Contains(err.Error(), "in a job") {
		t.Errorf("a job that throws: %v", err)
	}
	jobs(t, vm)
	if got := eval(t, vm, `later`); got != "1" {
		t.Errorf("the other job: %q", got)
	}
}

// Each bomb ends its call with an error of its kind, and the VM goes on.
func TestBombsEndTheirCall(t *testing.T) {
	other := errors.New("an exception")
	for _, bomb := range []struct {
		name, source string
		want         error
	}{
		{"loop", `for (;;) {}`, engine.ErrFuel},
		{"loop that catches", `(() => { for (;;) try { for (;;) {} } catch {} finally { continue } })()`, engine.ErrFuel},
		{"loop in an async function", `(async () => { for (;;) {} })().catch(() => {})`, engine.ErrFuel},
		{"loop in a job", `Promise.resolve().then(() => { for (;;) {} }).catch(() => {})`, engine.ErrFuel},
		{"loop in a generator", `for (const x of (function* () { for (;;) yield 1 })()) {}`, engine.ErrFuel},
		{"loop while an exception is shown", `throw { toString() { for (;;) {} } }`, engine.ErrFuel},
		{"loop in the stack of an exception", `throw Object.defineProperty(Error('x'), 'stack', { get() { for (;;) {} } })`, engine.ErrFuel},
		{"loop in a result", `({ toString() { for (;;) {} } })`, engine.ErrFuel},
		{"sort", `[1, 2, 3].sort(() => { for (;;) {} })`, engine.ErrFuel},
		{"proxy", `Reflect.ownKeys(new Proxy({}, { ownKeys() { for (;;) {} } }))`, engine.ErrFuel},
		{"regexp", `/^(a+)+$/.test('a'.repeat(40) + 'b')`, engine.ErrFuel},
		{"promises", `(function f() { return Promise.resolve().then(f) })(); 1`, engine.ErrFuel},
		{"promises that double", `globalThis.f = () => Promise.resolve().then(f).then(f); f(); 1`, engine.ErrFuel},
		{"recursion", `(function f() { f() })()`, other},
		{"recursion through sort", `(function f() { [1, 2].sort(f) })()`, other},
		{"recursion through a proxy", `(() => { const p = new Proxy({}, { get: (t, k, r) => r[k + 1] }); p.a })()`, other},
		{"recursion through toString", `(() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; String(a) })()`, other},
		{"deep JSON", `JSON.parse('['.repeat(1e6))`, other},
		{"deep source", `eval('('.repeat(1e5) + '1' + ')'.repeat(1e5))`, other},
		{"deep regexp", `new RegExp('('.repeat(1e5) + ')'.repeat(1e5))`, other},
		{"objects", `(() => { const a = []; for (;;) a.push(new Array(1000).fill(1)) })()`, engine.ErrMemory},
		{"objects in an async function", `(async () => { const a = []; for (;;) a.push(new Array(1000).fill(1)) })().catch(() => {})`, engine.ErrMemory},
		{"objects that are caught", `(() => { const a = []; for (;;) try { for (;;) a.push(new Array(1000).fill(1)) } catch {} })()`, engine.ErrMemory},
		{"array buffer", `new ArrayBuffer(2 ** 30)`, engine.ErrMemory},
		{"text", `'x'.repeat(2 ** 28)`, engine.ErrMemory},
		{"text to the host", `hostCall('x', 'x'.repeat(2 ** 22))`, other},
		{"array", `new Array(1e8).fill(1)`, engine.ErrMemory},
		{"a deep list is freed", `(() => { let l = null; for (let i = 0; i < 1e5; i++) l = { l } })(); throw 1`, other},
	} {
		t.Run(bomb.name, func(t *testing.T) {
			vm := newVM(t, engine.Options{Memory: 16 << 20})
			const fuel = 1_000_000
			vm.Grant(engine.Grant{Fuel: fuel})
			before := vm.Spent()
			_, err := vm.Eval(bomb.source, "bomb.js")
			if err == nil {
				_, err = vm.RunJobs()
			}
			var e *engine.Error
			switch {
			case bomb.want != other && !errors.Is(err, bomb.want):
				t.Errorf("%v, want %v", err, bomb.want)
			case bomb.want == other && (!errors.As(err, &e) || e.Unwrap() != nil):
				t.Errorf("%v, want an exception", err)
			}
			if spent := vm.Spent() - before; spent > fuel {
				t.Errorf("%d units were spent", spent)
			}
			vm.Grant(engine.Grant{Fuel: 1_000_000})
			if err := vm.Collect(); err != nil {
				t.Fatal(err)
			}
			eval(t, vm, `globalThis.f = () => {}`) // ends the promises that double
			for range 1000 {
				if _, err = vm.RunJobs(); err == nil {
					break
				}
				vm.Grant(engine.Grant{Fuel: 1_000_000})
			}
			if err != nil {
				t.Errorf("jobs behind the bomb: %v", err)
			}
			if got := eval(t, vm, `[1, 2].map(x => x * x).join()`); got != "1,4" {
				t.Errorf("behind the bomb: %q", got)
			}
		})
	}
}

func TestFuelIsCountedTheSame(t *testing.T) {
	run := func(restored bool) (spent []uint64) {
		vm := newVM(t, engine.Options{})
		vm.Grant(engine.Grant{Fuel: 3_000_000})
		for i := range 8 {
			if restored && i == 4 {
				vm = newVMFrom(t, vm)
			}
			_, err := vm.Eval(fmt.Sprintf(`for (let i = 0; i < %d; i++) {} ; (async () => { for (let i = 0; i < 100; i++) await i })(); 1`, 123_456*i), "test.js")
			_, err2 := vm.RunJobs()
			if wantErr := i >= 5; errors.Is(errors.Join(err, err2), engine.ErrFuel) != wantErr {
				t.Errorf("step %d: %v, %v", i, err, err2)
			}
			spent = append(spent, vm.Spent())
		}
		return spent
	}
	a, b := run(false), run(true)
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("spent %v, and with an image %v", a, b)
	}
	// A turn of such a loop jumps twice.
	if took := a[3] - a[0]; took < 1_400_000 || took > 1_600_000 {
		t.Errorf("740,736 turns and 300 jobs took %d units", took)
	}
}

func newVMFrom(t testing.TB, vm *engine.VM) *engine.VM {
	t.Helper()
	var image bytes.Buffer
	if err := vm.WriteImage(&image); err != nil {
		t.Fatal(err)
	}
	again, err := engine.Restore(image.Bytes(), engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = again.Close() })
	return again
}

func TestClockAndDiceAreTheGrants(t *testing.T) {
	a, b := newVM(t, engine.Options{}), newVM(t, engine.Options{})
	const look = `[Date.now(), new Date().toISOString(), performance.now(), new Date().getTimezoneOffset(), Math.random(), Math.random()].join()`
	if x, y := eval(t, a, look), eval(t, b, look); x != y || !strings.HasPrefix(x, "0,1970-01-01T00:00:00.000Z,") {
		t.Errorf("before a grant: %s and %s", x, y)
	}
	now := time.Date(2027, 3, 4, 5, 6, 7, 8e6, time.FixedZone("", 3600))
	a.Grant(engine.Grant{Now: now, Fuel: 1e6})
	for range 2 {
		if got := eval(t, a, `new Date().toISOString()`); got != "2027-03-04T04:06:07.008Z" {
			t.Errorf("the clock says %s", got)
		}
	}
	if got := eval(t, newVMFrom(t, a), `Date.now()`); got != fmt.Sprint(now.UnixMilli()) {
		t.Errorf("the clock of an image says %s", got)
	}
	eval(t, a, `import('./x.js').catch(e => { globalThis.refused = String(e) }); 1`)
	jobs(t, a)
	if got := eval(t, a, `refused`); !strings.Contains(got, "could not load module") {
		t.Errorf("import: %s", got)
	}
	if got := eval(t, a, `['process', 'require', 'fetch', 'setTimeout', 'std', 'os', 'nativeHarden', 'print'].filter(n => n in globalThis).join()`); got != "" {
		t.Errorf("globals %s", got)
	}
}

func TestHostMayNotCallTheVMAndItsPanicPasses(t *testing.T) {
	var vm *engine.VM
	vm = newVM(t, engine.Options{Host: func(operation string, _ []byte) ([]byte, error) {
		if operation == "panic" {
			panic("the host's own")
		}
		return vm.Eval("1", "inner.js")
	}})
	if _, err := vm.Eval(`hostCall('eval', '')`, "test.js"); err == nil || !strings.Contains(err.Error(), "from within hostCall") {
		t.Errorf("a call from within: %v", err)
	}
	func() {
		defer func() {
			if r := recover(); r != "the host's own" {
				t.Errorf("recovered %v", r)
			}
		}()
		_, _ = vm.Eval(`hostCall('panic', '')`, "test.js")
		t.Error("the panic did not pass")
	}()
	if _, err := vm.Eval("1", "test.js"); !errors.Is(err, engine.ErrBroken) {
		t.Errorf("after a panic: %v", err)
	}
}

package engine

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/internal/torture"
)

// A program is steps on a VM; each of its answers is a line.
type step func(v *VM) string

func answer(b []byte, err error) string {
	var e *Error
	if errors.As(err, &e) {
		return fmt.Sprintf("error %s at %s: %v", e.Message, e.Stack, e.cause)
	}
	return fmt.Sprintf("%q %v", b, err)
}

func echo(operation string, text []byte) ([]byte, error) {
	switch operation {
	case "fail":
		return nil, fmt.Errorf("refused: %s", text)
	case "nothing":
		return nil, nil
	}
	return append([]byte(operation+" "), text...), nil
}

// The heap of a program: values that its statements take and replace.
const programStart = `
globalThis.pool = [];
globalThis.log = [];
globalThis.at = i => pool[i % (pool.length || 1)];
// Arrays of arrays grow to trees with millions of paths, which text of them takes seconds to walk, in one native call.
globalThis.isLarge = x => {
  const queue = [x];
  for (let n = 0; n < queue.length; n++) {
    if (n > 200) return true;
    const y = queue[n];
    if (typeof y === 'object' && y !== null) queue.push(...Object.values(y).slice(0, 200));
  }
  return false;
};
globalThis.put = (i, x) => { if (isLarge(x)) x = i; if (pool.length < 60) pool.push(x); else pool[i % 60] = x; return x; };
globalThis.say = x => { let s; try { s = typeof x === 'object' ? JSON.stringify(x) : String(x); } catch (e) { s = String(e); } log.push(String(s).slice(0, 40)); };
globalThis.onText = text => { put(text.length, text); say(text.length); const out = log.join(';'); log = []; return out; };
globalThis.registry = new FinalizationRegistry(held => log.push('gone ' + held));
1`

// statements are templates of statements; A, B and C become small numbers.
var statements = strings.Split(strings.TrimSpace(`
put(A, { a: at(B), n: C, s: 'x'.repeat(C) })
put(A, [at(A), at(B), C, C / 7, -C, 'é\u{1f600}' + C])
put(A, (x => () => { x += C; return x; })(B))
put(A, Array.from({ length: C }, (_, i) => (i * A + B) % 17).sort((x, y) => x - y))
put(A, new Map(Array.from({ length: C }, (_, i) => [i % 2 ? i : 'k' + i, at(i)])))
put(A, new Set([A, B, C, at(A)]))
put(A, new Uint8Array(C).map((_, i) => i * A))
put(A, new Float64Array([Math.sin(A), Math.exp(B / 9), Math.pow(C, 0.37), Math.log(C + 1), NaN, -0]))
put(A, 123456789012345678901234567890n ** BigInt(C % 9) % 1000000007n)
put(A, class K { #p = A; static s = B; get p() { return this.#p++; } m(x) { return x === undefined ? this.p : [x]; } })
put(A, new (class extends Array { sum() { return this.reduce((s, x) => s + x, 0); } })(A, B, C))
put(A, function* g() { for (let i = 0; i < C; i++) yield i * A; }())
put(A, Promise.resolve(at(B)).then(x => { say(x); return put(B, C); }))
put(A, Promise.all([at(A), Promise.reject(new Error('no ' + C))]).catch(e => say(e)))
put(A, (async () => { for (let i = 0; i < C % 5; i++) await i; say('async ' + C); throw RangeError('r' + A); })().catch(say))
put(A, new WeakRef({ w: C }))
put(A, Symbol.for('s' + C))
put(A, new Date(Date.now() + C * 1e7).toISOString())
put(A, 'abc'.repeat(C).replace(/b(c?)a/g, (m, c, i) => i + c))
put(A, /(\d+)-(?<y>[a-z]*)/u.exec('x' + C + '-yz')?.groups?.y)
put(A, JSON.parse(JSON.stringify({ a: [A, B, { c: 'C\u2028' }] }, null, A % 4)))
put(A, new Proxy({ t: A }, { get: (t, k) => typeof k === 'string' ? k + B : undefined, has: () => true }))
put(A, harden({ h: A, f: () => B, nested: { deep: [A, B] } }))
put(A, harden([new Uint8Array(A % 5), () => C]))
put(A, (function f(n) { return n < 2 ? n : f(n - 1) + f(n - 2); })(C % 15))
put(A, hostCall('op' + A, 'text ' + C))
put(A, hostCall('fail', 'C'))
put(A, hostCall('nothing', ''))
put(A, Math.random())
put(A, (C / 3).toFixed(A % 20) + (C * 1e20).toString() + (A / (B + 1)).toPrecision(5) + parseFloat('1.' + C + 'e-7'))
put(A, [3, 1, 2].toSorted().concat(Object.entries({ a: A, b: B })).flat(2).join('|'))
registry.register({}, A)
{ const x = at(A); if (Array.isArray(x)) { x.push(C); x.splice(B % 3, 1); x.reverse(); } }
{ const x = at(A); if (x && typeof x === 'object') { x['p' + B] = at(C); if (isLarge(x)) x['p' + B] = 0; delete x['p' + (B - 1)]; } }
{ const x = at(A); if (typeof x === 'function') say(x(B)); }
{ const x = at(A); if (x && typeof x.next === 'function') say(x.next().value); }
{ let o = { at: at(A) }; o.self = o; put(B, o); put(C, null); }
{ let s = ''; for (let i = 0; i < A * C; i++) s += i & 1 ? 'o' : i; put(B, s.slice(-20)); }
{ let x = A; outer: for (let i = 0; ; i++) { for (let j = 0; j < C; j++) { if (x > 1e5) break outer; x = x * 3 + j; } } say(x); }
say(Object.getOwnPropertyNames(Object(at(A))).length)
say(typeof at(A) + String(at(B)).length)
say([...String(at(A)).slice(0, 9)].map(c => c.codePointAt(0)).join())
say(Reflect.ownKeys(globalThis).length)
put(A, eval('(' + C + ' + at(' + B + '))'))
null.missing
undefinedName + A
for (;;) put(A, C)
(function f() { f() })()
try { for (;;) at(A); } finally { say('never') }
/^(a+)+$/.test('a'.repeat(20 + C) + 'b')
`), "\n")

// randomProgram returns steps that create, change, drop and collect values of all kinds, and run into the limits.
func randomProgram(r *rand.Rand, n int) (program []step) {
	statement := func() string {
		s := statements[r.IntN(len(statements))]
		for _, name := range []string{"A", "B", "C"} {
			// Only names that stand alone, or in the text of a literal.
			s = replaceWord(s, name, fmt.Sprint(1+r.IntN(40)))
		}
		return s
	}
	for i := range n {
		switch r.IntN(12) {
		default:
			var b strings.Builder
			for range 1 + r.IntN(6) {
				fmt.Fprintf(&b, "try { %s } catch (e) { say(e); }\n", statement())
			}
			b.WriteString("log.join()")
			source := b.String()
			program = append(program, func(v *VM) string { return answer(v.Eval(source, fmt.Sprintf("step%d.js", i))) })
		case 0:
			text := bytes.Repeat([]byte("t€"), r.IntN(2000))
			program = append(program, func(v *VM) string { return answer(v.Call("onText", text)) })
		case 1, 2, 3:
			program = append(program, func(v *VM) string { n, err := v.RunJobs(); return fmt.Sprint(n, " ", answer(nil, err)) })
		case 4:
			program = append(program, func(v *VM) string { return answer(nil, v.Collect()) })
		case 5:
			source := statement()
			program = append(program, func(v *VM) string { return answer(v.Eval(source, "alone.js")) })
		}
		g := Grant{Fuel: uint64(r.IntN(200_000)), Now: time.Unix(int64(i)*1000, int64(r.IntN(1e9))), Seed: r.Uint64()}
		program = append(program, func(v *VM) string { v.Grant(g); return fmt.Sprint(v.Spent()) })
	}
	return program
}

func replaceWord(s, word, by string) string {
	letter := func(i int) bool {
		return i >= 0 && i < len(s) && (s[i] == '_' || s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z')
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i:i+1] == word && !letter(i-1) && !letter(i+1) {
			b.WriteString(by)
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func mustCreate(t *testing.T, o Options, newModule func(environment, wasi) (module, error)) *VM {
	t.Helper()
	if ID() == "" {
		t.Skip(ErrNotBuilt)
	}
	v, err := create(o, newModule)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.Close() })
	return v
}

// The translated module, the same module under wazero, and a VM that is restored from an image again and again, are given the same random program: their
// answers, their fuel and their memory are equal, byte for byte.
func TestTranslationAndImagesChangeNothing(t *testing.T) { oracle(t, 3*time.Second, 0) }

func TestTortureTranslationAndImages(t *testing.T) {
	if !torture.Long() {
		t.Skip("a part of make torture")
	}
	oracle(t, 0, 2)
}

func oracle(t *testing.T, bounded time.Duration, percent int) {
	seed := torture.Seed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	programs, steps, images := 0, 0, 0
	defer func() {
		torture.Report(t, torture.Row{Part: "js engine, translation", Scenarios: programs, Points: images, Cranks: steps, Seed: seed})
	}()
	o := Options{Host: echo, Memory: 16 << 20}
	for until := torture.Until(t, percent, bounded); programs == 0 || time.Now().Before(until); programs++ {
		vms := []*VM{mustCreate(t, o, newModule), mustCreate(t, o, underWazero(t)), mustCreate(t, o, newModule)}
		names := []string{"translated", "wazero", "restored"}
		program := append([]step{func(v *VM) string {
			v.Grant(Grant{Fuel: 200_000})
			return answer(v.Eval(programStart, "start.js"))
		}}, randomProgram(r, 120)...)
		for n, step := range program {
			steps++
			if n > 0 && r.IntN(12) == 0 {
				images++
				var image bytes.Buffer
				if err := vms[2].WriteImage(&image); err != nil {
					t.Fatal(err)
				}
				if err := vms[2].Close(); err != nil {
					t.Fatal(err)
				}
				v, err := Restore(image.Bytes(), o)
				if err != nil {
					t.Fatal(err)
				}
				vms[2] = v
			}
			want := step(vms[0])
			for i, v := range vms[1:] {
				if got := step(v); got != want {
					t.Fatalf("program %d, step %d: %s answers %s\ntranslated %s", programs, n, names[i+1], got, want)
				}
				if a, b := vms[0].Memory(), v.Memory(); !bytes.Equal(a, b) {
					t.Fatalf("program %d, step %d: %s has another memory, of %d and %d bytes, from %#x on", programs, n, names[i+1], len(b), len(a), firstDifference(a, b))
				}
			}
		}
		for _, v := range vms {
			_ = v.Close()
		}
	}
}

// Package programs makes random programs of Go vats, for tests that disturb them: with kills of workers and of
// the kernel, orderly stops and replays. The vats read and write rows that exist, do not exist and existed
// once, wait in each way, settle promises in circles and rows, keep objects in memory and leave.
//
// [Draw] draws a [Script], the messages that vats get; [Script.Run] has a kernel run it, and returns all that
// it has left. A script leaves the same answers and rows however it was disturbed.
package programs

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strings"

	"ocapkernel.dev/vat"
)

// A step is one instruction of a random program. Its effect follows from the step and from the effects of
// earlier steps of the same program, and never from the moment or from the life of a process: so a program that
// is disturbed by kills leaves the same answers and the same rows as one that is not.
type step struct {
	// Do names the instruction: a method of program.
	Do string `json:"do"`
	// Key names a row, an object, or a promise that is kept.
	Key string `json:"key"`
	// N is an amount.
	N int `json:"n"`
	// Peer names another vat, whose root is a program too.
	Peer string `json:"peer"`
	// Sub is a program for the peer.
	Sub []step `json:"sub"`
}

// place is where a step finds its text: one of seven places that the steps of its key share.
func (s step) place() int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(s.Key)) // never fails
	return 7*int(h.Sum32()) + s.N%7
}

// program is the root of a vat that runs random programs.
type program struct {
	vat.Durable
	Peers vat.Map[string, vat.Ref]
	Rows  vat.Map[string, int]
	Texts vat.Map[int, text]
	Items vat.Map[string, *item]
	// Heard are the outcomes with which continuations were called, by the keys of their steps.
	Heard vat.Map[string, string]
	// Runs counts the programs that have started.
	Runs int

	resolvers map[string]vat.Resolver `vat:"-"`
	waiting   map[string]vat.Promise  `vat:"-"`
}

// text is stored by copy.
type text struct {
	Body string
	Of   *item
}

// item is a durable object beside the root.
type item struct {
	vat.Durable
	N    int
	Next *item
	// Got are the numbers that came, in their order.
	Got []int
}

// Bump adds to the item.
func (i *item) Bump(by int) int {
	i.N += by
	return i.N
}

// Take notes a number.
func (i *item) Take(n int) { i.Got = append(i.Got, n) }

// Taken returns the numbers that came.
func (i *item) Taken() []int { return i.Got }

// spark lives in memory.
type spark struct {
	vat.Ephemeral
	n int
}

// Poke counts.
func (s *spark) Poke() int {
	s.n++
	return s.n
}

// link is passed by copy, and leads to another one.
type link struct {
	N    int
	Next vat.Promise
}

// Module is the module of the vats that run programs.
func Module() any {
	return vat.Module(func() *program { return &program{} }, (*item)(nil), (*spark)(nil))
}

// Bootstrap introduces all vats of the cluster to each other.
func (p *program) Bootstrap(ctx context.Context, vats map[string]vat.Ref) error {
	names := sortedKeys(vats)
	for _, name := range names {
		for _, other := range names {
			if _, err := vat.Call[vat.None](ctx, vats[name], "meet", other, vats[other]); err != nil {
				return err
			}
		}
	}
	return nil
}

// Meet keeps a peer.
func (p *program) Meet(ctx context.Context, name string, peer vat.Ref) error {
	return p.Peers.Set(ctx, name, peer)
}

// Run runs a program and returns the result of each step.
func (p *program) Run(ctx context.Context, steps []step) ([]string, error) {
	p.Runs++
	var saw []string
	for _, s := range steps {
		do, ok := instructions[s.Do]
		if !ok {
			return nil, fmt.Errorf("there is no step %q", s.Do)
		}
		what, err := do(p, ctx, s)
		if err != nil {
			what = "error " + told(err)
		}
		saw = append(saw, s.Do+" "+s.Key+": "+what)
	}
	return saw, nil
}

// told returns the text of an error that is the same however often a vat was killed.
func told(err error) string {
	for _, e := range []error{vat.ErrVatTerminated, vat.ErrVatRestarted, vat.ErrObjectDeleted, vat.ErrRevoked} {
		if errors.Is(err, e) {
			return e.Error()
		}
	}
	return err.Error()
}

type instruction = func(p *program, ctx context.Context, s step) (string, error)

// instructions are the instructions of a step, by name.
var instructions = map[string]instruction{
	"get": (*program).get, "ensure": (*program).ensure, "set": (*program).set, "delete": (*program).delete,
	"has": (*program).has, "list": (*program).list, "write": (*program).write, "read": (*program).read,
	"item": (*program).item, "bump": (*program).bump, "forget": (*program).forget, "lend": (*program).lend,
	"spark": (*program).spark, "keepSpark": (*program).keepSpark, "call": (*program).call, "watch": (*program).watch,
	"pipe": (*program).pipe, "promise": (*program).promise, "settle": (*program).settle, "break": (*program).break_,
	"park": (*program).park, "circle": (*program).circle, "row": (*program).row, "chain": (*program).chain,
	"order": (*program).order, "both": (*program).both, "dice": (*program).dice, "print": (*program).print, "leave": (*program).leave, "mourn": (*program).mourn,
}

func (p *program) get(ctx context.Context, s step) (string, error) {
	n, ok := p.Rows.Get(ctx, s.Key)
	return fmt.Sprint(n, ok), nil
}

// ensure reads a row, and writes it if there is none.
func (p *program) ensure(ctx context.Context, s step) (string, error) {
	n, ok := p.Rows.Get(ctx, s.Key)
	if !ok {
		n = s.N
		if err := p.Rows.Set(ctx, s.Key, n); err != nil {
			return "", err
		}
	}
	return fmt.Sprint(n, ok), nil
}

func (p *program) set(ctx context.Context, s step) (string, error) {
	return "", p.Rows.Set(ctx, s.Key, s.N)
}

func (p *program) delete(ctx context.Context, s step) (string, error) {
	p.Rows.Delete(ctx, s.Key)
	return "", nil
}

func (p *program) has(ctx context.Context, s step) (string, error) {
	return fmt.Sprint(p.Rows.Has(ctx, s.Key), p.Items.Has(ctx, s.Key), p.Texts.Has(ctx, s.place())), nil
}

// list returns the rows that begin with the key.
func (p *program) list(ctx context.Context, s step) (string, error) {
	var out []string
	for k, n := range p.Rows.All(ctx) {
		if strings.HasPrefix(k, s.Key) {
			out = append(out, fmt.Sprint(k, "=", n))
		}
	}
	return strings.Join(out, " "), nil
}

// write stores a text by copy, which is large if N is.
func (p *program) write(ctx context.Context, s step) (string, error) {
	it, _ := p.Items.Get(ctx, s.Key)
	return "", p.Texts.Set(ctx, s.place(), text{Body: strings.Repeat(s.Key, s.N*s.N), Of: it})
}

func (p *program) read(ctx context.Context, s step) (string, error) {
	t, ok := p.Texts.Get(ctx, s.place())
	n := -1
	if t.Of != nil {
		n = t.Of.N
	}
	return fmt.Sprint(len(t.Body), n, ok), nil
}

func (p *program) item(ctx context.Context, s step) (string, error) {
	it, ok := p.Items.Get(ctx, s.Key)
	if !ok {
		it = &item{N: s.N}
		if err := p.Items.Set(ctx, s.Key, it); err != nil {
			return "", err
		}
	}
	return fmt.Sprint(it.N, ok), nil
}

func (p *program) bump(ctx context.Context, s step) (string, error) {
	it, ok := p.Items.Get(ctx, s.Key)
	if !ok {
		return "none", nil
	}
	if it.Next == nil {
		it.Next = &item{}
	}
	it.Next.N++
	return fmt.Sprint(it.Bump(s.N), it.Next.N), nil
}

func (p *program) forget(ctx context.Context, s step) (string, error) {
	p.Items.Delete(ctx, s.Key)
	return "", nil
}

// lend has a peer bump an item.
func (p *program) lend(ctx context.Context, s step) (string, error) {
	it, ok := p.Items.Get(ctx, s.Key)
	if !ok {
		return "none", nil
	}
	before := it.N
	n, err := vat.Await[int](ctx, p.to(ctx, s, "use", it, s.N))
	return fmt.Sprint(before, n, it.N), err
}

// Use bumps an item of another vat.
func (p *program) Use(ctx context.Context, r vat.Ref, by int) (int, error) {
	return vat.Call[int](ctx, r, "bump", by)
}

// spark has a peer poke an object that lives in memory.
func (p *program) spark(ctx context.Context, s step) (string, error) {
	e := &spark{n: s.N}
	n, err := vat.Await[int](ctx, p.to(ctx, s, "pokeTwice", e))
	return fmt.Sprint(n, e.n), err
}

// PokeTwice pokes an object.
func (p *program) PokeTwice(ctx context.Context, r vat.Ref) (int, error) {
	first := vat.Send(ctx, r, "poke")
	if n, err := vat.Call[int](ctx, r, "poke"); err != nil {
		return n, err
	}
	return vat.Await[int](ctx, first)
}

// keepSpark has a peer keep an object that lives in memory, so that this vat does not come to rest again. The
// peer pokes the object that it kept before under the same name.
func (p *program) keepSpark(ctx context.Context, s step) (string, error) {
	n, err := vat.Await[int](ctx, p.to(ctx, s, "keep", s.Key, &spark{n: s.N}))
	return fmt.Sprint(n), err
}

// Keep pokes the object that it kept under a name before, and keeps another one.
func (p *program) Keep(ctx context.Context, name string, r vat.Ref) (int, error) {
	old, ok := p.Peers.Get(ctx, "spark "+name)
	if err := p.Peers.Set(ctx, "spark "+name, r); err != nil || !ok {
		return -1, err
	}
	return vat.Call[int](ctx, old, "poke")
}

func (p *program) to(ctx context.Context, s step, method string, args ...any) vat.Promise {
	r, ok := p.Peers.Get(ctx, s.Peer)
	if !ok {
		r = vat.RefOf(ctx, p)
	}
	return vat.Send(ctx, r, method, args...)
}

// call waits for a program of a peer, and keeps a number in memory meanwhile.
func (p *program) call(ctx context.Context, s step) (string, error) {
	local := p.Runs
	saw, err := vat.Await[[]string](ctx, p.to(ctx, s, "run", s.Sub))
	return fmt.Sprint(saw, p.Runs >= local), err
}

// watch does not wait for a program of a peer: its store does.
func (p *program) watch(ctx context.Context, s step) (string, error) {
	vat.When(ctx, vat.When(ctx, p.to(ctx, s, "run", s.Sub), p, "Ran", s.Key), p, "Noted", s.Key)
	return "", nil
}

// Ran keeps the results of a watched program.
func (p *program) Ran(ctx context.Context, o vat.Outcome[[]string], key string) (int, error) {
	saw, err := o.Get()
	if err != nil {
		return 0, err
	}
	if err := p.Heard.Set(ctx, key+" ran", fmt.Sprint(saw)); err != nil {
		return 0, err
	}
	return len(saw), nil
}

// Noted keeps an outcome.
func (p *program) Noted(ctx context.Context, o vat.Outcome[int], key string) error {
	n, err := o.Get()
	if err != nil {
		return p.Heard.Set(ctx, key, "error "+told(err))
	}
	return p.Heard.Set(ctx, key, fmt.Sprint(n))
}

// pipe sends to an object that is not there yet.
func (p *program) pipe(ctx context.Context, s step) (string, error) {
	it := p.to(ctx, s, "give", s.Key, s.N)
	vat.Send(ctx, it, "bump", 1)
	n, err := vat.Call[int](ctx, it, "bump", 1)
	return fmt.Sprint(n), err
}

// Give makes an item and gives it away.
func (p *program) Give(ctx context.Context, key string, n int) *item { return &item{N: n} }

// promise makes a promise of this vat's memory, which a later step settles. One continuation waits for it.
func (p *program) promise(ctx context.Context, s step) (string, error) {
	if _, ok := p.resolvers[s.Key]; ok {
		return "is there", nil
	}
	pr, r := vat.NewPromise(ctx)
	if p.resolvers == nil {
		p.resolvers, p.waiting = map[string]vat.Resolver{}, map[string]vat.Promise{}
	}
	p.resolvers[s.Key], p.waiting[s.Key] = r, pr
	vat.When(ctx, pr, p, "Noted", s.Key)
	return "", nil
}

func (p *program) settle(ctx context.Context, s step) (string, error) {
	r, ok := p.resolvers[s.Key]
	if !ok {
		return "none", nil
	}
	delete(p.resolvers, s.Key)
	r.Resolve(ctx, s.N)
	return "", nil
}

// break_ rejects such a promise.
func (p *program) break_(ctx context.Context, s step) (string, error) {
	r, ok := p.resolvers[s.Key]
	if !ok {
		return "none", nil
	}
	delete(p.resolvers, s.Key)
	r.Reject(ctx, fmt.Errorf("broken by %d", s.N))
	return "", nil
}

// park waits for such a promise, also through a peer.
func (p *program) park(ctx context.Context, s step) (string, error) {
	pr, ok := p.waiting[s.Key]
	if !ok {
		return "none", nil
	}
	far := p.to(ctx, s, "wait", []vat.Promise{pr})
	n, err := vat.Await[int](ctx, pr)
	m, far2 := vat.Await[int](ctx, far)
	return fmt.Sprint(n, m), errors.Join(err, far2)
}

// Wait waits for a promise of another vat.
func (p *program) Wait(ctx context.Context, ps []vat.Promise) (int, error) {
	return vat.Await[int](ctx, ps[0])
}

// circle settles N promises with each other, in one crank, and has a peer walk around.
func (p *program) circle(ctx context.Context, s step) (string, error) {
	n := 1 + s.N
	ps, rs := make([]vat.Promise, n), make([]vat.Resolver, n)
	for i := range ps {
		ps[i], rs[i] = vat.NewPromise(ctx)
	}
	for i, r := range rs {
		r.Resolve(ctx, link{N: i, Next: ps[(i+1)%n]})
	}
	walked, err := vat.Await[int](ctx, p.to(ctx, s, "walk", []vat.Promise{ps[0]}, 2*n+1))
	return fmt.Sprint(walked), err
}

// row settles N promises, each with the next one in a record, and the last one with none.
func (p *program) row(ctx context.Context, s step) (string, error) {
	end, r := vat.NewPromise(ctx)
	r.Reject(ctx, errors.New("the end"))
	for i := range 40 * s.N {
		next, r := vat.NewPromise(ctx)
		r.Resolve(ctx, link{N: i, Next: end})
		end = next
	}
	walked, err := vat.Await[int](ctx, p.to(ctx, s, "walk", []vat.Promise{end}, 9))
	return fmt.Sprint(walked), err
}

// Walk follows links and adds their numbers.
func (p *program) Walk(ctx context.Context, at []vat.Promise, steps int) (sum int, err error) {
	next := at[0]
	for range steps {
		l, err := vat.Await[link](ctx, next)
		if err != nil {
			return sum, fmt.Errorf("after %d: %w", sum, err)
		}
		sum += l.N
		next = l.Next
	}
	return sum, nil
}

// chain settles N promises, each with the next one itself.
func (p *program) chain(ctx context.Context, s step) (string, error) {
	first, r := vat.NewPromise(ctx)
	for range 20 * s.N {
		next, nr := vat.NewPromise(ctx)
		r.Resolve(ctx, next)
		r = nr
	}
	far := p.to(ctx, s, "wait", []vat.Promise{first})
	r.Resolve(ctx, s.N)
	n, err := vat.Await[int](ctx, far)
	return fmt.Sprint(n), err
}

// both waits for two peers' programs at once.
func (p *program) both(ctx context.Context, s step) (string, error) {
	a, b := p.to(ctx, s, "use", &item{N: 1}, s.N), p.to(ctx, s, "use", &item{N: 2}, s.N)
	saw, err := vat.Await[[]int](ctx, vat.All(ctx, a, b))
	return fmt.Sprint(saw), err
}

// misordered is in the result of a step that finds messages in another order than they were sent in.
const misordered = "misordered"

// order sends numbers to a promise of this vat, in several cranks, and to the object that it is fulfilled with.
func (p *program) order(ctx context.Context, s step) (string, error) {
	to, r := vat.NewPromise(ctx)
	sent := 0
	send := func(target any, n int) {
		for range n {
			vat.Send(ctx, target, "take", sent)
			sent++
		}
	}
	send(to, s.N)
	it, err := vat.Await[vat.Ref](ctx, p.to(ctx, s, "give", s.Key, s.N))
	if err != nil {
		return "", err
	}
	send(to, 1)
	r.Resolve(ctx, it)
	send(it, 1)
	send(to, 1)
	got, err := vat.Call[[]int](ctx, it, "taken")
	if len(got) != sent || !slices.IsSorted(got) {
		return fmt.Sprint(misordered, got), err
	}
	return fmt.Sprint(sent), err
}

// dice checks that time and dice are the same after a wait.
func (p *program) dice(ctx context.Context, s step) (string, error) {
	now, die := vat.Now(ctx), vat.Rand(ctx).IntN(1_000_000)
	if err := p.Rows.Set(ctx, "~"+s.Key, die); err != nil {
		return "", err
	}
	if _, err := vat.Await[int](ctx, p.to(ctx, s, "use", &item{}, 1)); err != nil {
		return "", err
	}
	kept, _ := p.Rows.Get(ctx, "~"+s.Key)
	p.Rows.Delete(ctx, "~"+s.Key)
	return fmt.Sprint(kept == die, !vat.Now(ctx).Before(now)), nil
}

func (p *program) print(ctx context.Context, s step) (string, error) {
	fmt.Println("a line of", s.Key)
	vat.Log(ctx).Info("a step", "key", s.Key)
	return "", nil
}

// leave ends the vat.
func (p *program) leave(ctx context.Context, s step) (string, error) {
	vat.Exit(ctx, "left at "+s.Key)
	return "", nil
}

// mourn waits for the end of a peer.
func (p *program) mourn(ctx context.Context, s step) (string, error) {
	r, _ := p.Peers.Get(ctx, s.Peer)
	vat.When(ctx, vat.Done(ctx, r), p, "Mourned", s.Key)
	return "", nil
}

// Mourned keeps the value with which a peer has ended.
func (p *program) Mourned(ctx context.Context, o vat.Outcome[string], key string) error {
	value, err := o.Get()
	if err != nil {
		value = "error " + told(err)
	}
	return p.Heard.Set(ctx, key, value)
}

// Dump returns all that the vat has stored.
func (p *program) Dump(ctx context.Context) []string {
	out := []string{fmt.Sprint("runs ", p.Runs)}
	for k, n := range p.Rows.All(ctx) {
		out = append(out, fmt.Sprint("row ", k, "=", n))
	}
	for k, t := range p.Texts.All(ctx) {
		out = append(out, fmt.Sprint("text ", k, "=", len(t.Body), " ", t.Of != nil))
	}
	for k, it := range p.Items.All(ctx) {
		out = append(out, fmt.Sprint("item ", k, "=", it.N, " ", it.Next != nil))
	}
	for k, what := range p.Heard.All(ctx) {
		out = append(out, "heard "+k+"="+what)
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

package liveslots_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/vat"
)

var orderSeed = flag.Uint64("order.seed", 0, "the first seed of the random sends")

// Sender does random steps. It sends numbered notes to b, by all kinds of promises.
type Sender struct {
	vat.Durable
	B vat.Ref
	// Sent counts the notes by the promise to which they were sent, and those to b itself.
	Sent vat.Map[string, int]

	promises  map[string]vat.Promise  `vat:"-"`
	resolvers map[string]vat.Resolver `vat:"-"`
}

func NewSender() *Sender { return &Sender{} }

func (s *Sender) Bootstrap(vats map[string]vat.Ref) { s.B = vats["b"] }

// TakeWeak makes Weak known.
func (s *Sender) TakeWeak(*Weak) {}

// OrderStep is a step of a Sender.
type OrderStep struct {
	Do   string `json:"do"`
	Name string `json:"name"`
	Of   string `json:"of"`
	N    int    `json:"n"`
}

func (s *Sender) Run(ctx context.Context, steps []OrderStep) error {
	if s.promises == nil {
		s.promises, s.resolvers = map[string]vat.Promise{}, map[string]vat.Resolver{}
	}
	for _, x := range steps {
		p, known := s.promises[x.Name]
		r := s.resolvers[x.Name]
		switch x.Do {
		case "make": // a promise of memory
			s.promises[x.Name], s.resolvers[x.Name] = vat.NewPromise(ctx)
			continue
		case "gate": // a promise of another vat
			s.promises[x.Name] = vat.Send(ctx, s.B, "gate", x.Of)
			continue
		case "when": // a promise of the store
			s.promises[x.Name] = vat.When(ctx, vat.Send(ctx, s.B, "gate", x.Of), s, "Which")
			continue
		case "own": // a promise that is the answer to a message of this vat to itself
			var given vat.Promise
			given, s.resolvers[x.Of] = vat.NewPromise(ctx)
			s.promises[x.Of] = given
			s.promises[x.Name] = vat.Send(ctx, s, "give", given, vat.Send(ctx, s.B, "echo", "later"))
			continue
		case "direct":
			if err := s.note(ctx, s.B, "b", x.N); err != nil {
				return err
			}
			continue
		}
		if !known {
			continue // it was forgotten when the vat was at rest
		}
		var err error
		switch _, ours := s.resolvers[x.Name]; x.Do {
		case "send":
			err = s.note(ctx, p, x.Name, x.N)
		case "weak":
			err = s.noteWith(ctx, p, x.Name, "noteAbout", &Weak{})
		case "then":
			err = s.then(ctx, p, x.Name, x.N)
		case "late": // a call that waits for another promise gets this one as it is
			vat.Send(ctx, s, "late", x.Name, p, vat.Send(ctx, s.B, "gate", x.Of))
		case "name": // it gets a name
			vat.Send(ctx, s.B, "keep", p)
		case "resolve":
			if ours {
				r.Resolve(ctx, s.B)
			}
		case "large": // the crank has no room to tell the kernel of the second
			if ours {
				large, lr := vat.NewPromise(ctx)
				vat.Send(ctx, large, "note", "never")
				lr.Resolve(ctx, strings.Repeat("x", 1600<<10))
				r.Resolve(ctx, s.B)
				err = s.then(ctx, p, x.Name, x.N)
			}
		case "follow":
			if other, ok := s.promises[x.Of]; ours && ok {
				r.Resolve(ctx, other)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Give answers with a promise.
func (s *Sender) Give(p vat.Promise, _ string) vat.Promise { return p }

func (s *Sender) Which(_ any) vat.Ref { return s.B }

func (s *Sender) Late(ctx context.Context, name string, p vat.Promise, _ string) error {
	if err := s.note(ctx, p, name, 2); err != nil {
		return err
	}
	return s.then(ctx, p, name, 1)
}

// then waits for the promise. Then it sends notes to what it is, which say how many went to the promise before.
func (s *Sender) then(ctx context.Context, p vat.Promise, name string, n int) error {
	to, err := vat.Await[vat.Ref](ctx, p)
	if err != nil {
		return nil // rejected, as a promise that was resolved to itself
	}
	before, _ := s.Sent.Get(ctx, name)
	vat.Send(ctx, to, "note", fmt.Sprintf("%s after %d", name, before))
	return s.note(ctx, to, "b", n)
}

func (s *Sender) note(ctx context.Context, to any, name string, n int) error {
	for range n {
		if err := s.noteWith(ctx, to, name, "note"); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sender) noteWith(ctx context.Context, to any, name, method string, args ...any) error {
	n, _ := s.Sent.Get(ctx, name)
	if err := s.Sent.Set(ctx, name, n+1); err != nil {
		return err
	}
	vat.Send(ctx, to, method, append(args, fmt.Sprintf("%s %d", name, n))...)
	return nil
}

// drawOrder returns random messages: the steps of the sender, and the gates of b that are to be opened, as one step
// "open".
func drawOrder(r *rand.Rand) (messages [][]OrderStep) {
	var names, own, gates []string
	n := 0
	fresh := func(of string) string { n++; return fmt.Sprint(of, n) }
	some := func(list []string) string {
		if len(list) == 0 {
			return "none"
		}
		return list[r.IntN(len(list))]
	}
	gate := func() string { g := fresh("g"); gates = append(gates, g); return g }
	for range 10 + r.IntN(20) {
		if r.IntN(4) == 0 && len(gates) > 0 {
			i := r.IntN(len(gates))
			opened := []OrderStep{{Do: "open", Of: gates[i]}}
			gates = append(gates[:i:i], gates[i+1:]...)
			if len(gates) > 0 && r.IntN(2) == 0 { // two in one crank
				opened = append(opened, OrderStep{Do: "open", Of: gates[len(gates)-1]})
				gates = gates[:len(gates)-1]
			}
			messages = append(messages, opened)
			continue
		}
		var steps []OrderStep
		for range 1 + r.IntN(5) {
			x := OrderStep{Name: some(names), N: 1 + r.IntN(3)}
			switch k := r.IntN(24); {
			case k < 2:
				x.Do, x.Name = "make", fresh("p")
				own = append(own, x.Name)
				names = append(names, x.Name)
			case k == 2:
				x.Do, x.Name, x.Of = "gate", fresh("p"), gate()
				names = append(names, x.Name)
			case k == 3:
				x.Do, x.Name, x.Of = "when", fresh("p"), gate()
				names = append(names, x.Name)
			case k < 10:
				x.Do = "send"
			case k == 10:
				x.Do = "weak"
			case k < 13:
				x.Do = "then"
			case k == 13:
				x.Do = "direct"
			case k == 14:
				x.Do, x.Of = "late", gate()
			case k < 17:
				x.Do, x.Name = "resolve", some(own)
			case k < 20:
				x.Do, x.Name, x.Of = "follow", some(own), some(names)
			case k == 20:
				x.Do = "name"
			case k == 21:
				x.Do, x.Name, x.Of = "own", fresh("p"), fresh("p")
				own = append(own, x.Of)
				names = append(names, x.Name, x.Of)
			default:
				x.Do = "send"
				if r.IntN(10) == 0 {
					x.Do, x.Name = "large", some(own)
				}
			}
			steps = append(steps, x)
		}
		messages = append(messages, steps)
	}
	for _, name := range own {
		messages = append(messages, []OrderStep{{Do: "resolve", Name: name}, {Do: "send", Name: name, N: 1}})
	}
	for _, g := range gates {
		messages = append(messages, []OrderStep{{Do: "open", Of: g}})
	}
	return messages
}

// misordered returns a description of the first note that came before one that was sent earlier to the same target, or "".
func misordered(notes []string) string {
	next := map[string]int{}
	for i, note := range notes {
		var name string
		var n int
		if _, err := fmt.Sscanf(note, "%s after %d", &name, &n); err == nil {
			if next[name] < n {
				return fmt.Sprintf("note %d, %q, comes when %d were there", i, note, next[name])
			}
			continue
		}
		if _, err := fmt.Sscanf(note, "%s %d", &name, &n); err != nil {
			return note
		}
		if next[name] != n {
			return fmt.Sprintf("note %d is %q, want number %d", i, note, next[name])
		}
		next[name]++
	}
	return ""
}

// Random programs send by all kinds of promises, from turns, continuations and calls that waited. The notes that were
// sent to one promise come in their order, and before those that are sent to the object once the promise is settled.
// Some programs are killed after each delivery, and replayed.
func TestRandomSendsKeepTheirOrder(t *testing.T) {
	first := *orderSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d: -order.seed replays it", first)
	for n := range uint64(16) {
		r := rand.New(rand.NewPCG(first+n, 8))
		m := modes[0]
		if n%4 == 3 { // a replay of all deliveries after each delivery
			m = modes[1]
		}
		k := m.launch(t, NewSender)
		messages := drawOrder(r)
		// The gates are opened in bursts, and beside steps.
		for i, steps := range messages {
			if steps[0].Do == "open" {
				opened := []string{}
				for _, x := range steps {
					opened = append(opened, x.Of)
				}
				text, err := json.Marshal(opened)
				if err != nil {
					t.Fatal(err)
				}
				k.Send("b", "openWithSelf", string(text))
			} else {
				text, err := json.Marshal(steps)
				if err != nil {
					t.Fatal(err)
				}
				k.Send("lab", "run", string(text))
			}
			if r.IntN(3) > 0 || i == len(messages)-1 {
				m.run(k)
			}
		}
		text, err := k.Call("b", "notes")
		if err != nil {
			t.Fatal(err)
		}
		var notes []string
		if err := json.Unmarshal([]byte(text), &notes); err != nil {
			t.Fatal(err)
		}
		if bad := misordered(notes); bad != "" {
			t.Errorf("seed %d (%s): %s\n%q\n%+v", first+n, m.name, bad, notes, messages)
			return
		}
	}
}

// OpenWithSelf opens those gates that there are: they are this object.
func (h *Helper) OpenWithSelf(ctx context.Context, names []string) {
	for _, name := range names {
		h.OpenIfThere(ctx, name, h)
	}
}

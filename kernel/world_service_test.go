package kernel_test

import (
	"fmt"
	"strings"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// serviceEffect writes down an effect that is about service objects. A call is performed only once the commit
// that began it is durable, which it is here.
func (w *world) serviceEffect(e kernel.Effect) {
	w.t.Helper()
	switch e := e.(type) {
	case kernel.Invoke:
		o, found, err := w.m.ServiceCall(e.Call)
		if err != nil {
			w.t.Fatal(err)
		}
		if !found {
			w.printf("  > invoke %s call %d, which is over", e.Call.Service, e.Call.N)
			return
		}
		w.printf("  > invoke %s call %d: %s", e.Call.Service, e.Call.N, outstandingText(o))
	case kernel.CancelCall:
		w.printf("  > cancel %s call %d", e.Call.Service, e.Call.N)
	case kernel.EndService:
		why := ""
		if e.Released {
			why = ", which nothing holds"
		}
		w.printf("  > end %s, the %s%s", e.Service, strings.TrimSpace(e.Kind+" "+e.Name), why)
	case kernel.UnitBack:
		w.printf("  > a unit is back at %s", e.Service)
	default:
		w.t.Fatalf("unknown effect %T", e)
	}
}

func outstandingText(o kernel.Outstanding) string {
	s := fmt.Sprintf("%s(%s)", kernel.Method(o.MethArgs.Body), join(o.MethArgs.Slots))
	if o.From != "" {
		s += fmt.Sprintf(" by %s of %s", o.From, o.Sub)
	}
	return s
}

// own describes service objects that belong to a launch, global those that are the kernel's.
func own(names ...string) (out []kernel.LaunchService) {
	for _, n := range names {
		out = append(out, kernel.LaunchService{Name: n, New: kernel.NewService{Kind: "io", Config: []byte(n)}})
	}
	return out
}

func global(names ...string) (out []kernel.LaunchService) {
	for _, n := range names {
		out = append(out, kernel.LaunchService{Name: n, Global: n})
	}
	return out
}

// withServices launches vats with service objects, and runs them until they are up. The services that bootstrap got are
// kept for the bootstrap vat by their names.
func (w *world) withServices(services []kernel.LaunchService, names ...string) kernel.SubID {
	w.t.Helper()
	l := kernel.Launch{Bootstrap: names[0], Services: services}
	for _, n := range names {
		l.Vats = append(l.Vats, launchVat(n))
	}
	return w.up(l)
}

func launchVat(name string) kernel.LaunchVat {
	return kernel.LaunchVat{Name: name, MaxQueue: 100, MaxRestarts: 5, MaxRecords: 1000, Config: []byte("{}")}
}

// up launches a subcluster and runs until it is up.
func (w *world) up(l kernel.Launch) kernel.SubID {
	w.t.Helper()
	s, c, err := w.m.Launch(l)
	if !w.do(c, err) {
		return ""
	}
	sub, _, _ := w.m.Subcluster(s)
	w.run(w.keepServices(sub, l))
	return s
}

// keepServices answers as a vat of few words does, and keeps what bootstrap brings: the root of vat NAME as
// $NAME, service NAME as $NAME.
func (w *world) keepServices(sub kernel.Subcluster, l kernel.Launch) func(kernel.VatID, wire.Deliver) string {
	return func(v kernel.VatID, d wire.Deliver) string {
		words := answer(d)
		if v != sub.Bootstrap || !strings.Contains(deliveryText(d), "bootstrap") {
			return words
		}
		for i, m := range sub.Vats {
			words += fmt.Sprintf("let %s $%d\n", m.Name, i)
		}
		for i, s := range l.Services {
			words += fmt.Sprintf("let %s $%d\n", s.Name, len(sub.Vats)+i)
		}
		return words
	}
}

// completion reads how a call comes out: a word or (list) as in parseResolve, with kernel names and "new" for a
// service object to make, "!" before it for a rejection.
func completion(words string) kernel.Completion {
	c := kernel.Completion{}
	words, c.Rejected = strings.CutPrefix(words, "!")
	list, isList := strings.CutPrefix(words, "(")
	refs := strings.Fields(strings.TrimSuffix(list, ")"))
	switch {
	case isList:
	case words == "new" || len(words) > 2 && words[0] == 'k' && strings.ContainsAny(words[1:2], "op"):
	case words == "null":
		c.Value.Body = "#null"
		return c
	case c.Rejected:
		c.Value.Body = `#{"#error":"` + words + `","name":"Error"}`
		return c
	default:
		c.Value.Body = `#"` + words + `"`
		return c
	}
	for i, r := range refs {
		k := kernel.KRef(r)
		if r == "new" {
			k = ""
			c.New = append(c.New, kernel.NewService{Kind: "conn", Config: fmt.Append(nil, i)})
		}
		c.Value.Slots = append(c.Value.Slots, k)
	}
	shown := make([]kernel.KRef, len(c.Value.Slots))
	for i, k := range c.Value.Slots {
		if shown[i] = k; k == "" {
			shown[i] = "ko"
		}
	}
	c.Value.Body = "#" + slotsBody(shown)
	if !isList {
		c.Value.Body = strings.Trim(c.Value.Body, "#[]")
		c.Value.Body = "#" + c.Value.Body
	}
	return c
}

// complete ends a call of a service object; edit, which may be nil, changes how.
func (w *world) complete(k kernel.KRef, n uint64, words string, edit func(*kernel.Completion)) []kernel.KRef {
	w.t.Helper()
	c := completion(words)
	if edit != nil {
		edit(&c)
	}
	commit, made, err := w.m.Complete(kernel.CallID{Service: k, N: n}, c, w.now)
	w.do(commit, err)
	return made
}

// unit says that a call read a unit.
func (w *world) unit(k kernel.KRef, n uint64, words string) {
	w.t.Helper()
	w.complete(k, n, words, func(c *kernel.Completion) { c.Unit = "read" })
}

// outstanding lists the numbers of the calls that are begun and not done.
func (w *world) outstanding(k kernel.KRef) (numbers []uint64) {
	w.t.Helper()
	for _, o := range must(w.m.Outstanding(k)) {
		numbers = append(numbers, o.ID.N)
	}
	return numbers
}

func (w *world) service(k kernel.KRef) kernel.Service {
	w.t.Helper()
	s, found, err := w.m.Service(k)
	if err != nil || !found {
		w.t.Fatalf("service %s: found %t, %v", k, found, err)
	}
	return s
}

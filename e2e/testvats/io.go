package testvats

import (
	"context"
	"errors"

	"ocapkernel.dev/vat"
)

// portPlan has a port begin with one of its methods, follow or serve, on a channel.
type portPlan struct{ Do, Channel string }

// port is the vat at the inner end of IO channels. It calls them by order of a test, and notes their answers.
type port struct {
	vat.Durable
	Plan     portPlan
	Services map[string]vat.Ref
	// Log are the units that the loops have read, in the order of their notifications.
	Log   vat.Map[int, string]
	Count int
	// Wrote are the outcomes of the lines that submit wrote, by their numbers.
	Wrote       vat.Map[int, string]
	Next, Last  int
	Outstanding int
	// Sessions are the present sessions of serve, Served all that it has had.
	Sessions, Served int
}

func newPort(p portPlan) *port { return &port{Plan: p} }

// Bootstrap takes the channels.
func (p *port) Bootstrap(ctx context.Context, _ map[string]vat.Ref, services map[string]vat.Ref) error {
	p.Services = services
	switch p.Plan.Do {
	case "follow":
		p.Follow(ctx, p.Plan.Channel, false)
	case "answer":
		p.Follow(ctx, p.Plan.Channel, true)
	case "serve":
		p.Serve(ctx, p.Plan.Channel)
	case "fail":
		p.Follow(ctx, p.Plan.Channel, false)
		return errors.New("it does not want to")
	case "never":
		p.Follow(ctx, p.Plan.Channel, false)
		// This read is never answered.
		_, err := vat.Call[vat.None](ctx, services[p.Plan.Channel], "read")
		return err
	}
	return nil
}

// Call calls any method of a service.
func (p *port) Call(ctx context.Context, service, method string, args []any) vat.Promise {
	return vat.Send(ctx, p.Services[service], method, args...)
}

// Service returns a service.
func (p *port) Service(name string) vat.Ref { return p.Services[name] }

// Accept accepts a connection and keeps it under a name.
func (p *port) Accept(ctx context.Context, channel, name string) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, p.Services[channel], "accept"), p, "OnAccepted", name)
}

// OnAccepted keeps a connection.
func (p *port) OnAccepted(conn vat.Outcome[vat.Ref], name string) error {
	ref, err := conn.Get()
	if err == nil {
		p.Services[name] = ref
	}
	return err
}

// Keep keeps a reference under a name, as if it were a service.
func (p *port) Keep(name string, ref vat.Ref) { p.Services[name] = ref }

// Boast writes to a channel, and then dies in the same crank.
func (p *port) Boast(ctx context.Context, channel, text string) {
	vat.Send(ctx, p.Services[channel], "write", text)
	panic("it panics")
}

// Drop forgets a service.
func (p *port) Drop(name string) { delete(p.Services, name) }

// Follow reads a channel until it ends, and notes each unit. With answers it writes each back, and goes on with
// the next client until the channel is gone.
func (p *port) Follow(ctx context.Context, channel string, answers bool) {
	vat.When(ctx, vat.Send(ctx, p.Services[channel], "read"), p, "OnUnit", channel, answers)
}

// OnUnit notes a unit, or the reason why there is none, and waits for the next.
func (p *port) OnUnit(ctx context.Context, unit vat.Outcome[*string], channel string, answers bool) error {
	text, err := unit.Get()
	if err := p.hear(ctx, text, err); err != nil {
		return err
	}
	if errors.Is(err, vat.ErrServiceGone) || !answers && err == nil && text == nil {
		return nil
	}
	if answers && err == nil && text != nil {
		vat.Send(ctx, p.Services[channel], "write", *text)
	}
	p.Follow(ctx, channel, answers)
	return nil
}

func (p *port) hear(ctx context.Context, text *string, err error) error {
	what := "!END"
	switch {
	case err != nil:
		what = "!" + codeOf(err)
	case text != nil:
		what = *text
	}
	p.Count++
	return p.Log.Set(ctx, p.Count, what)
}

// Take reads n units in a turn that waits, which a vat without memory forgets.
func (p *port) Take(ctx context.Context, channel string, n int) error {
	for range n {
		text, err := vat.Call[*string](ctx, p.Services[channel], "read")
		if err := p.hear(ctx, text, err); err != nil {
			return err
		}
	}
	return nil
}

// Batch begins n reads, writes their units without waiting for them, and returns the promise.
func (p *port) Batch(ctx context.Context, channel string, n int) ([]string, error) {
	var reads []vat.Promise
	for range n {
		reads = append(reads, vat.Send(ctx, p.Services[channel], "read"))
	}
	lines, err := vat.Await[[]string](ctx, vat.All(ctx, reads...))
	for _, line := range lines {
		vat.Send(ctx, p.Services[channel], "write", line)
	}
	return lines, err
}

// Report returns the log, from a number on, at most a thousand entries.
func (p *port) Report(ctx context.Context, from int) []string {
	list := []string{}
	for i := from; i <= p.Count && len(list) < 1000; i++ {
		text, _ := p.Log.Get(ctx, i)
		list = append(list, text)
	}
	return list
}

// Heard returns the length of the log.
func (p *port) Heard() int { return p.Count }

// Submit writes the numbers from 1 to n to a channel, four at a time.
func (p *port) Submit(ctx context.Context, channel string, n int) {
	p.Last = n
	for range 4 {
		p.submit(ctx, channel)
	}
}

func (p *port) submit(ctx context.Context, channel string) {
	if p.Next == p.Last {
		return
	}
	p.Next++
	p.Outstanding++
	vat.When(ctx, vat.Send(ctx, p.Services[channel], "write", number(p.Next)), p, "OnWrote", channel, p.Next)
}

// Begun returns how many lines submit has written, or begun to.
func (p *port) Begun() int { return p.Next }

// OnWrote notes the outcome of a write.
func (p *port) OnWrote(ctx context.Context, done vat.Outcome[vat.None], channel string, n int) error {
	what := "written"
	if _, err := done.Get(); err != nil {
		what = codeOf(err)
	}
	p.Outstanding--
	p.submit(ctx, channel)
	return p.Wrote.Set(ctx, n, what)
}

// Written returns the outcomes of the writes, once all are over.
func (p *port) Written(ctx context.Context) ([]string, error) {
	if p.Outstanding > 0 || p.Next < p.Last {
		return nil, errors.New("not yet")
	}
	list := []string{}
	for i := 1; i <= p.Last; i++ {
		text, _ := p.Wrote.Get(ctx, i)
		list = append(list, text)
	}
	return list, nil
}

// codeOf returns the code of a kernel's error, and the text of any other.
func codeOf(err error) string {
	for code, kind := range map[string]error{
		"CONNECTION_LOST": vat.ErrConnectionLost, "SERVICE_GONE": vat.ErrServiceGone, "AMBIGUOUS": vat.ErrAmbiguous,
		"LIMIT": vat.ErrLimit, "VAT_RESTARTED": vat.ErrVatRestarted, "OBJECT_DELETED": vat.ErrObjectDeleted,
	} { // one of them at most
		if errors.Is(err, kind) {
			return code
		}
	}
	return err.Error()
}

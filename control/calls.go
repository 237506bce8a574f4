package control

import (
	"context"
	"encoding/json"
	"time"
)

// Status describes the kernel.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var out Status
	err := c.Call(ctx, methodStatus, nil, &out)
	return out, err
}

// PS describes the vats, in the order of their ids.
func (c *Client) PS(ctx context.Context) ([]Vat, error) {
	var out struct {
		Vats []Vat `json:"vats"`
	}
	err := c.Call(ctx, methodPS, nil, &out)
	return out.Vats, err
}

// Launch makes a subcluster and returns when its bootstrap method has answered. An error with CodeInvalid
// lists the mistakes of the configuration in its Details.
func (c *Client) Launch(ctx context.Context, r LaunchRequest) (Launched, error) {
	text, err := json.Marshal(string(r.Config))
	if err != nil {
		return Launched{}, Errorf(CodeInvalid, "%v", err)
	}
	var out Launched
	err = c.Call(ctx, methodLaunch, launchParams{Path: r.Path, Config: text}, &out)
	return out, err
}

// Terminate deletes a subcluster and its vats.
func (c *Client) Terminate(ctx context.Context, subcluster string) error {
	return c.Call(ctx, methodTerminate, idParams{ID: subcluster}, nil)
}

// RestartVat gives a vat a fresh worker, and a stopped one its life back. With forget the vat starts from
// its durable state alone.
func (c *Client) RestartVat(ctx context.Context, vat string, forget bool) error {
	return c.Call(ctx, methodRestart, restartParams{ID: vat, Forget: forget}, nil)
}

// ReplayVat gives the past of a vat, since it was last at rest, to a fresh worker and returns a line for each
// delivery and syscall, and one for where it diverges. The vat waits meanwhile; nothing changes.
func (c *Client) ReplayVat(ctx context.Context, vat string) ([]string, error) {
	var r replayed
	err := c.Call(ctx, methodReplay, idParams{ID: vat}, &r)
	return r.Lines, err
}

// Send calls a method. A rejection is no error: it is an [Outcome]. If r.Ticket has no id, Send makes one;
// a caller who wants to know the answer whatever happens chooses it before, with [NewID].
func (c *Client) Send(ctx context.Context, r SendRequest) (Outcome, error) {
	if r.Ticket.ID == "" {
		r.Ticket.ID = NewID()
	}
	var out Outcome
	err := c.Call(ctx, methodSend, sendParams{
		Ticket: r.Ticket, Target: r.Target, Method: r.Method, Args: r.Args,
		Wait: r.Wait, TimeoutMS: millis(r.Timeout), Raw: r.Raw,
	}, &out)
	return out, err
}

// Await waits for the answer of an earlier call, at most for the timeout; zero means [MaxWait]. If there
// is none by then, the outcome is [Pending]. With raw the outcome carries CapData.
func (c *Client) Await(ctx context.Context, t Ticket, timeout time.Duration, raw bool) (Outcome, error) {
	var out Outcome
	err := c.Call(ctx, methodAwait, awaitParams{Ticket: t, TimeoutMS: millis(timeout), Raw: raw}, &out)
	return out, err
}

// Acknowledge lets the answer of a call go: the kernel need not keep it any longer.
func (c *Client) Acknowledge(ctx context.Context, t Ticket) error {
	return c.Call(ctx, methodAcknowledge, ticketParams{Ticket: t}, nil)
}

// PoisonedList lists the poisoned messages, oldest first.
func (c *Client) PoisonedList(ctx context.Context) ([]Poisoned, error) {
	var out struct {
		Poisoned []Poisoned `json:"poisoned"`
	}
	err := c.Call(ctx, methodPoisonedList, nil, &out)
	return out.Poisoned, err
}

// PoisonedRetry delivers a poisoned message again. Its result was rejected long ago and stays so.
func (c *Client) PoisonedRetry(ctx context.Context, id string) error {
	return c.Call(ctx, methodPoisonedRetry, idParams{ID: id}, nil)
}

// PoisonedDrop forgets a poisoned message.
func (c *Client) PoisonedDrop(ctx context.Context, id string) error {
	return c.Call(ctx, methodPoisonedDrop, idParams{ID: id}, nil)
}

// Shutdown begins to stop the kernel. [Client.Done] tells when it has hung up; its process may live a
// little longer.
func (c *Client) Shutdown(ctx context.Context) error {
	return c.Call(ctx, methodShutdown, nil, nil)
}

// Version describes the server.
func (c *Client) Version(ctx context.Context) (Version, error) {
	var out Version
	err := c.Call(ctx, methodVersion, nil, &out)
	return out, err
}

// millis rounds up, so that a short timeout does not become the zero that means none. A negative one goes
// out as it is, and is refused.
func millis(d time.Duration) int64 {
	if d > 0 {
		d += time.Millisecond - 1
	}
	return d.Milliseconds()
}

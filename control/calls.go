package control

import (
	"context"
	"encoding/json"
	"time"

	"ocapkernel.dev/errcode"
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

// Launch makes a subcluster and returns when its bootstrap method has answered. An error with errcode.Invalid
// lists the mistakes of the configuration in its Details.
func (c *Client) Launch(ctx context.Context, r LaunchRequest) (Launched, error) {
	text, err := json.Marshal(string(r.Config))
	if err != nil {
		return Launched{}, Errorf(errcode.Invalid, "%v", err)
	}
	var out Launched
	err = c.Call(ctx, methodLaunch, launchParams{Path: r.Path, Config: text}, &out)
	return out, err
}

// Apply changes a running subcluster to another configuration, and keeps its stored state. All of the changes
// are made, or none; applied twice, it changes nothing more. A change that would delete stored state is refused
// with errcode.Conflict, and Details that name the fields, unless r.Replace names the subcluster: then it is
// deleted and launched anew.
func (c *Client) Apply(ctx context.Context, r ApplyRequest) (Applied, error) {
	text, err := json.Marshal(string(r.Config))
	if err != nil {
		return Applied{}, Errorf(errcode.Invalid, "%v", err)
	}
	var out Applied
	err = c.Call(ctx, methodApply, applyParams{ID: r.Subcluster, Path: r.Path, Config: text, DryRun: r.DryRun, Replace: r.Replace}, &out)
	return out, err
}

// CheckConfig returns the mistakes in a configuration, as a launch of it would, and launches nothing.
func (c *Client) CheckConfig(ctx context.Context, r LaunchRequest) error {
	return c.check(ctx, methodCheckConfig, r)
}

// CheckSystem returns the mistakes in a declaration of system subclusters, as a start with it would, and
// launches nothing.
func (c *Client) CheckSystem(ctx context.Context, r LaunchRequest) error {
	return c.check(ctx, methodCheckSystem, r)
}

func (c *Client) check(ctx context.Context, method string, r LaunchRequest) error {
	text, err := json.Marshal(string(r.Config))
	if err != nil {
		return Errorf(errcode.Invalid, "%v", err)
	}
	return c.Call(ctx, method, launchParams{Path: r.Path, Config: text}, nil)
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
// delivery and syscall, and one for the place where it diverges. The vat waits meanwhile; nothing changes.
func (c *Client) ReplayVat(ctx context.Context, vat string) ([]string, error) {
	var r replayed
	err := c.Call(ctx, methodReplay, idParams{ID: vat}, &r)
	return r.Lines, err
}

// Send calls a method. A rejection is no error: it is an [Outcome]. If r.Ticket has no id, Send makes one; a
// caller that must get the answer also after a crash chooses the id before, with [NewID].
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

// PoisonedList returns the oldest poisoned messages behind the one with the id after, at most limit of them,
// oldest first; more reports whether there are younger ones. An empty after means from the beginning; a limit
// of 0 means 1,000, and no page is longer.
func (c *Client) PoisonedList(ctx context.Context, after string, limit int) (list []Poisoned, more bool, err error) {
	var out poisonedPage
	err = c.Call(ctx, methodPoisonedList, pageParams{After: after, Limit: limit}, &out)
	return out.Poisoned, out.More, err
}

// PoisonedRetry delivers a poisoned message again. Its result was rejected long ago and stays so.
func (c *Client) PoisonedRetry(ctx context.Context, id string) error {
	return c.Call(ctx, methodPoisonedRetry, idParams{ID: id}, nil)
}

// PoisonedDrop forgets a poisoned message.
func (c *Client) PoisonedDrop(ctx context.Context, id string) error {
	return c.Call(ctx, methodPoisonedDrop, idParams{ID: id}, nil)
}

// IO lists the IO channels.
func (c *Client) IO(ctx context.Context) ([]Channel, error) {
	var out struct {
		Channels []Channel `json:"channels"`
	}
	err := c.Call(ctx, methodIO, nil, &out)
	return out.Channels, err
}

// Services lists the services that vats may call, in the order of their names.
func (c *Client) Services(ctx context.Context) ([]Service, error) {
	var out struct {
		Services []Service `json:"services"`
	}
	err := c.Call(ctx, methodServices, nil, &out)
	return out.Services, err
}

// System lists the system subclusters.
func (c *Client) System(ctx context.Context) ([]System, error) {
	var out struct {
		Systems []System `json:"systems"`
	}
	err := c.Call(ctx, methodSystem, nil, &out)
	return out.Systems, err
}

// Reload replaces a subcluster by a new one of the same configuration, or of the declared one if it is a system
// subcluster, and returns the new subcluster. The argument is an id such as s1, or a system subcluster's name.
// The stored state of the replaced vats is gone.
func (c *Client) Reload(ctx context.Context, subcluster string) ([]Subcluster, error) {
	return c.reload(ctx, reloadParams{ID: subcluster})
}

// ReloadAll reloads all running subclusters.
func (c *Client) ReloadAll(ctx context.Context) ([]Subcluster, error) {
	return c.reload(ctx, reloadParams{All: true})
}

func (c *Client) reload(ctx context.Context, p reloadParams) ([]Subcluster, error) {
	var out struct {
		Subclusters []Subcluster `json:"subclusters"`
	}
	err := c.Call(ctx, methodReload, p, &out)
	return out.Subclusters, err
}

// PingVat asks a vat for a sign of life, and returns "pong": its process is well, and it is not in the middle
// of one delivery for as long as ctx lasts, or for 10 seconds if ctx has no deadline. Otherwise the error is
// errcode.Timeout, and names the failed condition.
func (c *Client) PingVat(ctx context.Context, vat string) (string, error) {
	p := pingParams{ID: vat}
	if deadline, ok := ctx.Deadline(); ok { // the kernel is to answer a little before
		p.TimeoutMS = min(max((time.Until(deadline)*19/20).Milliseconds(), 1), MaxWait.Milliseconds())
	}
	var out string
	err := c.Call(ctx, methodPing, p, &out)
	return out, err
}

// TerminateVat deletes one vat and its state. Its subcluster stays, without it.
func (c *Client) TerminateVat(ctx context.Context, vat string) error {
	return c.Call(ctx, methodTerminateVat, idParams{ID: vat}, nil)
}

// TerminateAllVats terminates every subcluster, with all of its vats and their state.
func (c *Client) TerminateAllVats(ctx context.Context) error {
	return c.Call(ctx, methodTerminateAllVats, nil, nil)
}

// Revoke makes every call of an object be rejected with REVOKED, for every caller, for good. A second call has
// no further effect.
func (c *Client) Revoke(ctx context.Context, kref string) error {
	return c.Call(ctx, methodRevoke, krefParams{KRef: kref}, nil)
}

// IsRevoked reports whether an object was revoked; an object that does not exist is errcode.NotFound.
func (c *Client) IsRevoked(ctx context.Context, kref string) (bool, error) {
	var out bool
	err := c.Call(ctx, methodIsRevoked, krefParams{KRef: kref}, &out)
	return out, err
}

// Inspect describes an object, such as ko4, or a promise, such as kp7.
func (c *Client) Inspect(ctx context.Context, kref string) (Inspection, error) {
	var out Inspection
	err := c.Call(ctx, methodInspect, krefParams{KRef: kref}, &out)
	return out, err
}

// Holds says why the kernel keeps an object or a promise, in at most [MaxHolds] reasons.
func (c *Client) Holds(ctx context.Context, kref string) (HoldPage, error) {
	var out HoldPage
	err := c.Call(ctx, methodHolds, krefParams{KRef: kref}, &out)
	return out, err
}

// CollectGarbage removes what is left of deleted things, and asks vats for what they no longer need: those from which there is
// something to expect, or the given one alone, if vat is not empty. It returns when nothing is left to do.
func (c *Client) CollectGarbage(ctx context.Context, vat string) (Collected, error) {
	var out Collected
	err := c.Call(ctx, methodCollect, collectParams{ID: vat}, &out)
	return out, err
}

// Tally counts what the state keeps.
func (c *Client) Tally(ctx context.Context) (Tally, error) {
	var out Tally
	err := c.Call(ctx, methodTally, nil, &out)
	return out, err
}

// ClearState deletes all subclusters and begins a new epoch: tickets of earlier calls are UNKNOWN.
func (c *Client) ClearState(ctx context.Context) error {
	return c.Call(ctx, methodClear, nil, nil)
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

// millis rounds up, so that a short timeout does not become the zero that means none. A negative timeout goes
// out as it is, and is refused.
func millis(d time.Duration) int64 {
	if d > 0 {
		d += time.Millisecond - 1
	}
	return d.Milliseconds()
}

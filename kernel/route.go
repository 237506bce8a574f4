package kernel

import (
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// route puts a new message where it belongs: into the queue of the vat that owns the target, or among the parked
// messages of an unresolved promise; if there is no such place, its result is rejected. route takes the counts that the
// place needs; the caller holds none for it. A bounded message counts against the bounds; the kernel's own (bootstrap,
// a retry) do not.
func (t *tx) route(m message, bounded bool) {
	for m.target.IsPromise() {
		p := t.touch(m.target)
		if p.state == unresolved {
			t.park(m, p, bounded)
			return
		}
		next, leads := KRef(""), false
		if p.state == fulfilled {
			next, leads = t.leadsTo(p)
		}
		switch {
		case leads:
			m.target = next
			continue
		case p.isTelling():
			idle := p.head == p.tail
			if t.park(m, p, bounded) && idle { // else the kernel's work rejects it with those that are there
				t.drain(p)
			}
		case p.state == rejected:
			t.splatLike(m, p)
		default:
			t.splat(m, errcode.BadTarget, "the promise was fulfilled with something that is no object")
		}
		return
	}
	o := t.objects.look(t, m.target)
	if o != nil && o.revoked {
		t.splat(m, errcode.Revoked, "the object was revoked")
		return
	}
	if o != nil && o.service {
		t.ask(m.target, m, bounded)
		return
	}
	v := t.owner(o)
	if v == "" {
		t.splat(m, errcode.ObjectDeleted, "the object does not exist any more")
		return
	}
	u := t.run(v)
	switch {
	case t.isForgedBootstrap(v, m.target, m):
		t.splat(m, errcode.BadTarget, "bootstrap is for the kernel to call, once")
	case u.phase == stopped:
		t.splat(m, errcode.VatTerminated, "the vat is stopped: "+u.why)
	case bounded && (u.queue.messages >= u.policy.maxQueue || u.queue.bytes >= t.queueBytes):
		t.full(m)
	default:
		t.holdMessage(m)
		u.queue.messages++
		u.queue.bytes += m.size()
		t.push(u, item{kind: itemMessage, msg: m})
	}
}

// isForgedBootstrap reports whether a message for an object of a vat calls the bootstrap method of its root, and is not
// the one that its launch has sent.
func (t *tx) isForgedBootstrap(v VatID, target KRef, m message) bool {
	if capdata.MethodOf(m.methArgs.Body) != "bootstrap" {
		return false
	}
	if ref, _, ok := t.vref(v, target); !ok || ref != wire.RootRef {
		return false
	}
	if m.from != "" || m.result == "" {
		return true
	}
	p := t.promises.look(t, m.result)
	return p == nil || p.launch == ""
}

const queueFull = "the queue of the receiver is full"

func (t *tx) full(m message) {
	t.queueFull = true
	if m.result == "" {
		t.event(Dropped{m.target})
		return
	}
	t.splat(m, errcode.QueueFull, queueFull)
}

// splat ends a message that holds no counts by rejecting its result.
func (t *tx) splat(m message, code errcode.Code, detail string) {
	t.event(Rejected{m.target, m.result, string(code)})
	if m.result != "" {
		t.settle(m.result, true, t.reason(code, detail))
	}
}

// reason returns the value with which the kernel rejects a promise. Details may be long, and are repeated for each
// promise: beyond the budget the value has the code alone.
func (t *tx) reason(code errcode.Code, detail string) Data {
	if d := kernelError(code, detail); len(d.Body) <= t.left.repeated {
		t.left.repeated -= len(d.Body)
		return d
	}
	return kernelError(code, "this has happened to many at once, of whom others were told more")
}

// splatLike repeats the reason of a rejected promise, unless that is large, or repeated too often in one
// commit: a small message must not make a large row.
func (t *tx) splatLike(m message, p *promise) {
	body, slots := t.valueSize(p)
	size := body + 16*slots
	if m.result != "" && (size > maxReason || size > t.left.repeated) {
		t.splat(m, errcode.Limit, "the promise was rejected, with a reason that is too large to repeat")
		return
	}
	t.event(Rejected{m.target, m.result, ""})
	if m.result != "" {
		t.left.repeated -= size
		t.settle(m.result, true, t.value(p))
	}
}

func kernelError(code errcode.Code, detail string) Data {
	return Data{Body: capdata.KernelError(code, detail)}
}

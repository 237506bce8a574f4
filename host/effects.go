package host

import (
	"fmt"

	"ocapkernel.dev/kernel"
)

// perform does what a commit asks for.
func (k *Shell) perform(e kernel.Effect) {
	switch e := e.(type) {
	case kernel.Wake:
		k.wake(e.Vat)
	case kernel.StopWorker:
		k.detach(e.Vat)
	case kernel.Answer:
		k.whenDurable(func() { k.answered(e.Ticket) })
	case kernel.LaunchSettled:
		k.whenDurable(func() { k.launchSettled(e) })
	case kernel.Gone:
		k.directory.remove(e.Sub)
		k.whenDurable(func() { k.subGone(e.Sub) })
	case kernel.Invoke:
		k.whenDurable(func() { k.invoke(e) })
	case kernel.CancelCall:
		k.cancelCall(e)
	case kernel.EndService:
		k.whenDurable(func() { k.endService(e) })
	case kernel.UnitBack:
		k.soon(func() { k.unitBack(e.Service) })
	default:
		panic(fmt.Sprintf("host: unknown effect %T", e))
	}
}

// applied says that any commit may leave work: asking costs one cached read.
func (k *Shell) applied() { k.working = true }

// eased begins what had to wait while something was short.
func (k *Shell) eased() {
	k.reloadNext()
	k.nextTurn()
}

// trace writes what has happened to the log, and counts it.
func (k *Shell) trace(e kernel.Event) {
	switch e := e.(type) {
	case kernel.Delivered:
		k.recorded(k.vat(e.Vat), e.Records)
		if k.log.IsDebug() {
			k.log.Debug("crank", "vat", e.Vat, "delivery", e.Number, "what", e.What)
		}
	case kernel.Settled:
		if k.log.IsTrace() {
			k.log.Trace("promise settled", "kref", e.Promise, "rejected", e.Rejected)
		}
	case kernel.Rejected:
		k.log.Debug("message rejected", "target", e.Target, "result", e.Result, "code", e.Code)
	case kernel.Dropped:
		k.dropped++
		k.log.Warn("message without result dropped, queue full", "target", e.Target)
	case kernel.Died:
		switch e.Cause {
		case kernel.CauseStopped, kernel.CauseKernel:
			k.log.Debug("incarnation over", "vat", e.Vat, "incarnation", e.Incarnation, "cause", e.Cause.String())
		default:
			k.log.Warn("worker died", "vat", e.Vat, "incarnation", e.Incarnation, "cause", e.Cause.String(), "attempt", e.Attempts)
		}
	case kernel.Poisoned:
		k.log.Error("delivery poisoned", "vat", e.Vat, "id", e.N, "what", e.What, "code", e.Code)
	case kernel.TranscriptFull:
		k.log.Warn("transcript full: until it is quiescent the vat would start from its durable state", "vat", e.Vat, "records", e.Records, "bytes", e.Bytes)
	case kernel.MemoryLost:
		k.log.Error("memory lost, the vat starts from its durable state", "vat", e.Vat, "why", e.Why)
	case kernel.ServiceFailed:
		k.log.Warn("call of a service failed, and nobody waits for the answer", "service", e.Service, "call", e.Call, "why", e.Why)
	case kernel.VatStopped:
		k.log.Error("vat stopped", "vat", e.Vat, "why", e.Why)
	case kernel.VatTerminated:
		k.log.Info("vat terminated", "vat", e.Vat, "why", e.Why)
		k.starts.release(e.Vat)
	}
}

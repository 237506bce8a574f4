package host

import (
	"context"
	"fmt"
	"log/slog"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/kernel"
)

// perform performs an effect of a commit.
func (s *Shell) perform(e kernel.Effect) {
	switch e := e.(type) {
	case kernel.Wake:
		s.vats.wake(e.Vat)
	case kernel.StopWorker:
		s.vats.detach(e.Vat)
	case kernel.Answer:
		s.whenDurable(func() { s.tickets.answered(e.Ticket) })
	case kernel.LaunchSettled:
		s.whenDurable(func() { s.subs.launchSettled(e) })
	case kernel.Gone:
		s.names.remove(e.Sub)
		s.whenDurable(func() { s.subs.subGone(e.Sub) })
	case kernel.Invoke:
		s.whenDurable(func() { s.objects.invoke(e) })
	case kernel.CancelCall:
		s.objects.cancelCall(e)
	case kernel.EndService:
		s.whenDurable(func() { s.objects.endService(e) })
	case kernel.UnitBack:
		s.soon(func() { s.objects.unitBack(e.Service) })
	default:
		panic(fmt.Sprintf("host: unknown effect %T", e))
	}
}

// applied says that any commit may leave work.
func (s *Shell) applied() { s.work.mayBe() }

// eased begins the operations that have waited for the end of a shortage.
func (s *Shell) eased() {
	s.subs.reloadNext()
	s.system.nextTurn()
}

// trace writes an event to the log, and counts it.
func (s *Shell) trace(e kernel.Event) {
	s.driver.note(e)
	switch e := e.(type) {
	case kernel.Delivered:
		s.vats.recorded(s.vats.vat(e.Vat), e.Records)
		s.vats.soiled(s.vats.vat(e.Vat), e.Dirty)
		if s.log.Enabled(context.Background(), slog.LevelDebug) {
			s.log.Debug("crank", "vat", e.Vat, "delivery", e.Number, "what", e.What)
		}
	case kernel.Settled:
		if s.log.Enabled(context.Background(), logging.Trace) {
			s.log.Log(context.Background(), logging.Trace, "promise settled", "kref", e.Promise, "rejected", e.Rejected)
		}
	case kernel.Rejected:
		s.log.Debug("message rejected", "target", e.Target, "result", e.Result, "code", e.Code)
	case kernel.Dropped:
		s.operator.messageDropped()
		s.log.Warn("message without result dropped, queue full", "target", e.Target)
	case kernel.Died:
		switch e.Cause {
		case kernel.CauseStopped, kernel.CauseKernel:
			s.log.Debug("incarnation over", "vat", e.Vat, "incarnation", e.Incarnation, "cause", e.Cause.String())
		default:
			s.log.Warn("worker died", "vat", e.Vat, "incarnation", e.Incarnation, "cause", e.Cause.String(), "attempt", e.Attempts)
		}
	case kernel.Poisoned:
		s.log.Error("delivery poisoned", "vat", e.Vat, "id", e.N, "what", e.What, "code", e.Code)
	case kernel.TranscriptFull:
		s.log.Warn("transcript full: until it is at rest the vat would start from its durable state", "vat", e.Vat, "records", e.Records, "bytes", e.Bytes)
	case kernel.MemoryLost:
		s.log.Error("memory lost, the vat starts from its durable state", "vat", e.Vat, "why", e.Why)
	case kernel.ServiceFailed:
		s.log.Warn("call of a service failed, and nobody waits for the answer", "service", e.Call.Service, "call", e.Call.N, "why", e.Why)
	case kernel.Unreadable:
		s.log.Error("row not read: what it held is not let go of, and kernel check names what is left over", "row", e.Key, "err", e.Why)
	case kernel.VatStopped:
		s.log.Error("vat stopped", "vat", e.Vat, "why", e.Why)
	case kernel.VatTerminated:
		s.log.Info("vat terminated", "vat", e.Vat, "why", e.Why)
		s.vats.starts.release(e.Vat)
	}
}

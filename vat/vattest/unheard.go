package vattest

import (
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

// calls are the results of a vat's messages that it has not handed on, each with the method that was sent.
type calls map[wire.Ref]string

// follow reads the syscalls of a crank. A result that the vat hands on, or sends a message to, is left to its
// receivers, and so is the result of that message: they are no longer the vat's own to use.
func (k *Kernel) follow(v kernel.VatID, syscalls []wire.Syscall) {
	of := k.unheard[v]
	if of == nil {
		of = calls{}
		k.unheard[v] = of
	}
	handedOn := func(refs ...wire.Ref) {
		for _, r := range refs {
			delete(of, r)
		}
	}
	for _, s := range syscalls {
		switch s := s.(type) {
		case wire.Send:
			handedOn(s.Target)
			handedOn(s.Message.MethArgs.Slots...)
			method, _, err := capdata.DecodeCall(s.Message.MethArgs.Body, len(s.Message.MethArgs.Slots))
			if err != nil {
				method = s.Message.MethArgs.Body
			}
			of[s.Message.Result] = method
		case wire.Resolve:
			for _, r := range s.Resolutions {
				handedOn(r.Value.Slots...)
			}
		case wire.Exit:
			handedOn(s.Info.Slots...)
		case wire.Subscribe, wire.Keep, wire.StoreSet, wire.StoreDelete, wire.DropImports, wire.RetireImportsCall,
			wire.RetireExportsCall, wire.AbandonExports, wire.Watch, wire.Collect:
			// a vat subscribes to every answer
		}
	}
}

// unused complains of a vat's messages that were rejected although the vat does not use the answer. records is the
// length of the vat's transcript after the delivery d.
func (k *Kernel) unused(l *life, d wire.Delivery, records uint64) {
	if !k.helpers {
		k.tb.Helper()
	}
	of := k.unheard[kernel.VatID(l.start.Vat)]
	if w, ok := l.Vat.(interface{ Unused() []wire.Ref }); ok {
		for _, ref := range w.Unused() {
			// A nudge that the SDK sends to its own vat is no message of the author's.
			if method, sent := of[ref]; sent && !strings.HasPrefix(method, "vat: ") {
				k.complainOf(l, method+" was rejected, and nothing uses the answer")
			}
		}
	}
	n, ok := d.(wire.Notify)
	if !ok {
		return
	}
	for _, r := range n.Resolutions {
		if !r.Rejected || records == 0 {
			delete(of, r.Promise) // a rejection is judged later, when the vat is at rest
		}
	}
}

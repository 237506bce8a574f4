package vattest

import (
	"errors"
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
)

// Bootstrapped returns the answer of the last launch's bootstrap method, as JSON.
func (k *Kernel) Bootstrapped() (string, error) {
	k.tb.Helper()
	sub, found, err := k.machine.Subcluster(k.launched)
	if err != nil {
		return "", err
	}
	if !found {
		return "", errors.New("the launch failed, or its subcluster is terminated")
	}
	v, err := capdata.Decode(sub.Result.Body, len(sub.Result.Slots))
	if err != nil {
		return "", err
	}
	text, err := capdata.ToJSON(v, func(slot int) string { return string(sub.Result.Slots[slot]) })
	return string(text), err
}

// Terminate ends a vat for good, as `kernel terminate VAT` does, and runs until no work is left. Calls that the
// vat has begun are rejected with VAT_TERMINATED then; calls that were still queued for it, and later ones,
// with OBJECT_DELETED.
func (k *Kernel) Terminate(name string) {
	k.tb.Helper()
	k.do(k.machine.TerminateVat(k.id(name)))
	k.Run()
}

// RestartKernel has the kernel die by kill -9 and start again on the same state, with all its workers. Turns
// that wait go on, since a vat with work is given its past. Calls of services wait for their answers as before.
func (k *Kernel) RestartKernel() {
	k.tb.Helper()
	for _, name := range k.sortedNames() {
		k.stop(k.names[name])
	}
	m, first, err := kernel.Open(k.mem, k.mem.Limits(), epoch)
	if err != nil {
		k.tb.Fatal(err)
	}
	k.machine, k.woken = m, nil
	k.apply(first)
	vats, err := m.Vats()
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, v := range vats {
		if v.Live && !v.Terminated {
			k.do(m.Died(kernel.Death{Vat: v.ID, Incarnation: v.Incarnation, Cause: kernel.CauseKernel}, k.now))
		}
		k.apply(kernel.Commit{Number: m.CommitNumber(), Effects: []kernel.Effect{kernel.Wake{Vat: v.ID}}})
	}
}

// unanswered returns the reason why a launch is not settled although no work is left.
func (k *Kernel) unanswered(bootstrap string) error {
	k.tb.Helper()
	if k.asksTest() {
		return nil
	}
	return fmt.Errorf("bootstrap of %s never answers: nothing is left to do, and %d turns of it wait in memory", bootstrap, k.parked[k.id(bootstrap)])
}

// asksTest reports whether a call of a service waits for an answer of the test.
func (k *Kernel) asksTest() bool {
	k.tb.Helper()
	for _, s := range k.played {
		if len(s.Calls()) > 0 {
			return true
		}
	}
	return false
}

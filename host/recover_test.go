package host_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
)

// quietClerk makes a world in which nothing dies by itself, with a vat that waits for nothing, and calls use.
func quietClerk(t *testing.T, limits string, use func(w *world, sub kernel.SubID)) {
	program := programOf(t, clerks())
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, program, true)
		w.change = func(c *host.Config) {
			c.Kinds = timer.Kinds()
			c.Kinds[host.KindIO] = service.Kind{Traits: reads, Open: func(service.Opening) (service.Object, error) { return &lines{}, nil }}
			c.Services = map[string]service.Registration{"ledger": {Object: ledger{&outside{w: w, written: map[string]int{}, begun: map[string]int{}}}}}
		}
		w.live(func() {
			use(w, w.launch(`{"bootstrap": "clerk", "vats": {"clerk": {"module": "clerk"`+limits+`}},
				"io": {"line": {"type": "console"}}, "services": ["timer", "ledger"]}`))
		})
	})
}

// reboot kills the kernel and starts the next one.
func (w *world) reboot() {
	w.store.die()
	w.stop()
	<-w.ended
	w.vats.Abandon()
	if err := w.mem.Reopen(); err != nil {
		w.t.Fatal(err)
	}
	w.boot()
}

// Memory that the transcript does not hold is lost with the kernel: promises that it would have settled are rejected, once
// the next kernel has taken the death of its worker into account. Memory that the transcript holds goes on.
func TestWhatLostMemoryWouldHaveAnsweredIsRejectedByTheNextKernel(t *testing.T) {
	for limits, lost := range map[string]bool{`, "limits": {"transcript": 0}`: true, "": false} {
		quietClerk(t, limits, func(w *world, sub kernel.SubID) {
			if _, err := w.call("nap", string(sub), "nap", false, 60_000.0); err != nil {
				t.Error(err)
			}
			<-time.After(time.Second) // it waits
			w.reboot()
			begin := time.Now()
			a := w.must("nap", string(sub), "nap", 60_000.0)
			took := time.Since(begin)
			if lost && (!strings.Contains(a.Value.Body, string(errcode.VatRestarted)) || took > 30*time.Second) {
				t.Errorf("after %v what memory that is lost was to answer is %s", took, a.Value.Body)
			}
			if !lost && (a.Rejected || took < 50*time.Second) {
				t.Errorf("after %v what memory that can be made again was to answer is %s", took, a.Value.Body)
			}
			if a := w.must("tell", string(sub), "tell"); a.Rejected {
				t.Errorf("then the vat says %s", a.Value.Body)
			}
		})
	}
}

// The worker of a terminated vat is killed, even while it computes, and a vat that was restarted has one worker.
func TestNoWorkerOutlivesItsVat(t *testing.T) {
	quietClerk(t, "", func(w *world, sub kernel.SubID) {
		workers := func() string {
			synctest.Wait()
			return fmt.Sprint(w.vats.Live())
		}
		if _, err := w.call("hang", string(sub), "hang", false); err != nil {
			t.Error(err)
		}
		<-time.After(time.Second)
		if got := workers(); got != "[v1]" {
			t.Errorf("while it waits the workers are those of %s", got)
		}
		if err := w.k.Restart(w.ctx, "v1", false); err != nil {
			t.Error(err)
		}
		w.must("tell", string(sub), "tell")
		if got := workers(); got != "[v1]" {
			t.Errorf("after a restart the workers are those of %s", got)
		}
		if err := w.k.TerminateVat(w.ctx, "v1"); err != nil {
			t.Error(err)
		}
		<-time.After(time.Second)
		if got := workers(); got != "[]" {
			t.Errorf("the vat is terminated, and the workers are those of %s", got)
		}
		if a := w.must("hang", string(sub), "hang"); !strings.Contains(a.Value.Body, string(errcode.VatTerminated)) {
			t.Errorf("what it was to answer is %s", a.Value.Body)
		}
	})
}

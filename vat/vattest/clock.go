package vattest

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
)

// Now returns the time of the kernel, which vats get from vat.Now. Each crank takes a millisecond; besides,
// only [Kernel.Advance] lets time pass.
func (k *Kernel) Now() time.Time { return time.UnixMilli(k.now) }

// Advance lets time pass, and runs until no work is left. Each delay and each tick of a [Kernel.Timer] that
// comes due happens at its time, one after the other.
func (k *Kernel) Advance(d time.Duration) {
	k.tb.Helper()
	end := k.now + d.Milliseconds()
	k.Run()
	for {
		due, found := k.nextDue()
		if !found || due > end {
			break
		}
		k.now = max(k.now, due)
		k.Run()
	}
	k.now = max(k.now, end)
	k.Run()
}

// Timer adds a timer to the services that the bootstrap method of the next Launch gets, under this name. It is
// the service timer with the time of [Kernel.Now], and answers its calls itself.
func (k *Kernel) Timer(name string) {
	k.timers = append(k.timers, k.Service(name))
}

// repetition is one repeat of a timer.
type repetition struct {
	s      *Service
	target kernel.KRef
	every  int64
	next   int64
}

// nextDue returns the time at which the next delay or tick is due.
func (k *Kernel) nextDue() (due int64, found bool) {
	k.tb.Helper()
	see := func(at int64) {
		if !found || at < due {
			due, found = at, true
		}
	}
	for _, s := range k.timers {
		for _, c := range s.Calls() {
			if ms, err := delay(c); err == nil {
				see(c.at + ms)
			}
		}
	}
	for _, r := range k.repetitions {
		see(r.next)
	}
	return due, found
}

func delay(c *ServiceCall) (ms int64, err error) {
	if c.Method != "delay" || len(c.Args) != 1 {
		return 0, fmt.Errorf("timer: vattest has now(), delay(ms) and repeat(ms, target)")
	}
	var f float64
	if err := json.Unmarshal([]byte(c.Args[0]), &f); err != nil {
		return 0, fmt.Errorf("timer.%s: want a number of milliseconds", c.Method)
	}
	return int64(f), nil
}

// tick performs the delays and ticks that are due.
func (k *Kernel) tick() {
	k.tb.Helper()
	for _, s := range k.timers {
		for _, c := range s.Calls() {
			k.time(c)
		}
	}
	k.repetitions = slices.DeleteFunc(k.repetitions, func(r *repetition) bool {
		for _, c := range r.s.Calls() {
			if c.Method != "cancel" {
				c.Reject("timer: a repetition has cancel()")
				continue
			}
			c.Answer(`{"$undefined":true}`)
			k.do(k.machine.EndService(r.s.kref))
			return true
		}
		info, found, err := k.machine.Service(r.s.kref)
		if err != nil {
			k.tb.Fatal(err)
		}
		if !found || info.Ended {
			return true
		}
		if r.next <= k.now {
			r.next = k.now + r.every
			body, err := capdata.EncodeCall("tick", []any{float64(k.now)})
			if err != nil {
				k.tb.Fatal(err)
			}
			k.do(k.machine.Emit(r.s.kref, nil, r.target, kernel.Data{Body: body}, k.now))
		}
		return false
	})
}

// time performs a call of a timer, if it is due.
func (k *Kernel) time(c *ServiceCall) {
	k.tb.Helper()
	switch {
	case c.Method == "now" && len(c.Args) == 0:
		c.Answer(fmt.Sprint(k.now))
	case c.Method == "repeat" && len(c.Args) == 2:
		var ms float64
		var target struct {
			Ref kernel.KRef `json:"$ref"`
		}
		if json.Unmarshal([]byte(c.Args[0]), &ms) != nil || json.Unmarshal([]byte(c.Args[1]), &target) != nil || target.Ref == "" || ms < 1 {
			c.Reject("timer.repeat: want a number of milliseconds and a reference to an object")
			return
		}
		s := c.made("", kernel.Completion{New: []kernel.NewService{{Kind: "test", Holds: []kernel.KRef{target.Ref}}}})
		k.repetitions = append(k.repetitions, &repetition{s, target.Ref, int64(ms), c.at + int64(ms)})
	default:
		switch ms, err := delay(c); {
		case err != nil:
			c.Reject(err.Error())
		case c.at+ms <= k.now:
			c.Answer(fmt.Sprint(k.now))
		}
	}
}

package timer

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/service"
)

// twoClocks is a clock whose wall clock the test sets; the other one is that of synctest.
type twoClocks struct {
	*clock
	mu    sync.Mutex
	shift time.Duration
}

func newTwoClocks() *twoClocks {
	c := &twoClocks{clock: newClock()}
	c.wall = func() time.Time {
		c.mu.Lock()
		defer c.mu.Unlock()
		return time.Now().Round(0).Add(c.shift)
	}
	return c
}

func (c *twoClocks) set(shift time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shift = shift
}

// call makes a call of an object and returns a channel for its answer.
func call(t *testing.T, o service.Object, at time.Time, method string, args ...any) chan service.Reply {
	t.Helper()
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	replies := make(chan service.Reply, 1)
	o.Begin(ctx, service.Call{MethArgs: service.Data{Body: body, Slots: []string{"ko9"}}, At: at}, func(r service.Reply) { replies <- r })
	return replies
}

func TestADelayEndsWhenItWasDueWhateverTheWallClockDoes(t *testing.T) {
	// In each case the delay is one of 20 seconds; jump is at 5 s. It ends at least and at most so long after it began,
	// by the clock that does not jump.
	for _, c := range []struct {
		name        string
		jumps       []time.Duration // of the wall clock, at 5 s, 6 s, …
		least, most time.Duration
	}{
		{"nothing", nil, 20 * time.Second, 20 * time.Second},
		{"an hour back", []time.Duration{-time.Hour}, 20 * time.Second, 20 * time.Second},
		{"a second back", []time.Duration{-time.Second}, 20 * time.Second, 20 * time.Second},
		{"asleep for an hour", []time.Duration{time.Hour}, 5 * time.Second, 5*time.Second + lookTime},
		{"asleep for ten seconds", []time.Duration{10 * time.Second}, 10 * time.Second, 10*time.Second + lookTime},
		{"an hour back, and right again", []time.Duration{-time.Hour, 0}, 20 * time.Second, 20 * time.Second},
		{"a year back and forward", []time.Duration{-365 * 24 * time.Hour, 0, 0, -365 * 24 * time.Hour}, 20 * time.Second, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clocks := newTwoClocks()
				begin := time.Now()
				done := call(t, timer{clocks.clock}, begin, "delay", 20_000.0)
				for i, shift := range c.jumps {
					time.AfterFunc(time.Duration(5+i)*time.Second, func() { clocks.set(shift) })
				}
				<-done
				if took := time.Since(begin); took < c.least || took > c.most {
					t.Errorf("it ended after %v, want %v to %v", took, c.least, c.most)
				}
			})
		})
	}
}

func TestADelayOfAnEarlierKernelNeverWaitsLongerThanItIs(t *testing.T) {
	for name, c := range map[string]struct{ asked, want time.Duration }{
		"asked a while ago":            {-15 * time.Second, 5 * time.Second},
		"over meanwhile":               {-time.Hour, 0},
		"by a clock that was ahead":    {time.Hour, 20 * time.Second},
		"by a clock that was far back": {-50 * 365 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				<-call(t, timer{newClock()}, begin.Add(c.asked), "delay", 20_000.0)
				if took := time.Since(begin); took != c.want {
					t.Errorf("it ended after %v, want %v", took, c.want)
				}
			})
		})
	}
}

// ticks counts the ticks of a repetition.
type ticks struct {
	mu sync.Mutex
	at []time.Time
	o  service.Opening
}

func newTicks(every time.Duration, from time.Time, state []byte) *ticks {
	config, _ := json.Marshal(repeatConfig{EveryMS: every.Milliseconds(), From: from.UnixMilli()})
	k := &ticks{}
	k.o = service.Opening{
		Config: config, State: state, Holds: []string{"ko9"}, End: func() {},
		Send: func([]byte, string, service.Data) error {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.at = append(k.at, time.Now())
			return nil
		},
	}
	return k
}

func (k *ticks) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.at)
}

func TestARepetitionTicksOnWhateverTheWallClockDoes(t *testing.T) {
	for _, shift := range []time.Duration{0, -time.Hour, time.Hour, -300 * time.Millisecond, -40 * 365 * 24 * time.Hour} {
		t.Run(shift.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clocks := newTwoClocks()
				k := newTicks(200*time.Millisecond, time.Now(), nil)
				r, err := openRepeat(k.o, clocks.clock)
				if err != nil {
					t.Fatal(err)
				}
				tenSeconds := func() int {
					before := k.count()
					<-time.After(10 * time.Second)
					return k.count() - before
				}
				for _, s := range []time.Duration{0, shift, 0} {
					clocks.set(s)
					if n := tenSeconds(); n < 49 || n > 52 {
						t.Errorf("%d ticks in ten seconds with the clock moved by %v, want about 50", n, s)
					}
				}
				_ = r.(*repeat).Close()
				if n := tenSeconds(); n > 0 {
					t.Errorf("%d ticks after it was closed", n)
				}
			})
		})
	}
}

func TestARepetitionWhoseLastTickLiesInTheFutureGoesOnFromNow(t *testing.T) {
	for name, make := range map[string]func(now time.Time) *ticks{
		"last tick": func(now time.Time) *ticks {
			return newTicks(time.Second, now.Add(-time.Hour), []byte(jsonOf(now.Add(time.Hour).UnixMilli())))
		},
		"beginning": func(now time.Time) *ticks { return newTicks(time.Second, now.Add(24*time.Hour), nil) },
		"both right": func(now time.Time) *ticks {
			return newTicks(time.Second, now.Add(-time.Hour), []byte(jsonOf(now.UnixMilli())))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := make(time.Now())
				r, err := openRepeat(k.o, newClock())
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(5500 * time.Millisecond)
				if n := k.count(); n != 5 {
					t.Errorf("%d ticks in 5.5 s, want 5", n)
				}
				_ = r.(*repeat).Close()
			})
		})
	}
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v) // of numbers
	return string(b)
}

func TestAlarmsRingInTheirOrderAndNotWhenStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock()
		var mu sync.Mutex
		var got []int
		rings := func(n int) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, n)
		}
		now := c.Now()
		var stops []func()
		for _, n := range []int{5, 1, 4, 2, 3} {
			stops = append(stops, c.At(now.Add(time.Duration(n)*time.Second), func() { rings(n) }))
		}
		stops[2]()
		stops[2]()
		<-time.After(time.Minute)
		stops[0]()
		mu.Lock()
		defer mu.Unlock()
		if want := "[1,2,3,5]"; jsonOf(got) != want {
			t.Errorf("rang %v, want %s", got, want)
		}
	})
}

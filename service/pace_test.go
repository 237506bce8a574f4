package service_test

import (
	"testing"
	"time"

	"ocapkernel.dev/service"
)

func TestAPaceDoublesItsWaitsAndForgets(t *testing.T) {
	var p service.Pace
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	next := func(wants ...time.Duration) {
		t.Helper()
		for i, want := range wants {
			p.Next(now)
			if got := p.Wait(now); got != want {
				t.Errorf("after answer %d the next one waits %v, want %v", i+1, got, want)
			}
			if got := p.Wait(now.Add(want / 2)); got != want-want/2 {
				t.Errorf("half of it later it waits %v", got)
			}
			if now = now.Add(want); p.Wait(now) != 0 || p.Wait(now.Add(time.Hour)) != 0 {
				t.Error("it waits longer than that")
			}
		}
	}
	if got := p.Wait(now); got != 0 {
		t.Errorf("the first answer waits %v", got)
	}
	ms := time.Millisecond
	next(100*ms, 200*ms, 400*ms, 800*ms, 1600*ms, 3200*ms, 6400*ms, 12800*ms, 15*time.Second, 15*time.Second, 15*time.Second, 15*time.Second, 15*time.Second)
	now = now.Add(15 * time.Second) // no longer than the longest wait
	next(15 * time.Second)
	now = now.Add(15*time.Second + 1)
	next(100*ms, 200*ms)
	p.Reset()
	if got := p.Wait(now); got != 0 {
		t.Errorf("after something new it waits %v", got)
	}
	next(100*ms, 200*ms)
}

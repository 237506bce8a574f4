package supervisor

import (
	"sync"
	"time"
)

// laneTime is how long a start holds its place at most. A worker that is well says hello in a tenth of that.
const laneTime = 100 * time.Millisecond

// lanes bounds how many workers are starting, for starting is bound by CPU. A worker that does not say hello holds its
// place for laneTime only, and its vat starts in a lane of its own from then on, one vat after the other, until it has
// said hello again. So the starts of such vats, however many there are, delay one another and nobody else for long.
type lanes struct {
	fast, slow chan struct{} // hold one item for each place that is taken
	mu         *sync.Mutex
	late       map[string]struct{} // vats whose last worker did not say hello in time; guarded by mu
}

// mostLate bounds what is remembered of vats that may be gone.
const mostLate = 10_000

func newLanes(places int) lanes {
	return lanes{
		fast: make(chan struct{}, places), slow: make(chan struct{}, 1),
		mu: new(sync.Mutex), late: map[string]struct{}{},
	}
}

// enter waits for a place, or until over is closed, which gives false. The place is given back by leave, and by itself
// after laneTime.
func (l *lanes) enter(vat string, over <-chan struct{}) (leave func(hello bool), ok bool) {
	lane := l.lane(vat)
	for {
		select {
		case lane <- struct{}{}:
		case <-over:
			return nil, false
		}
		now := l.lane(vat) // another worker of this vat may have been late meanwhile
		if now == lane {
			break
		}
		<-lane
		lane = now
	}
	var once sync.Once
	free := func() { once.Do(func() { <-lane }) }
	timer := time.AfterFunc(laneTime, func() {
		l.setLate(vat, true)
		free()
	})
	return func(hello bool) {
		timer.Stop()
		if hello {
			l.setLate(vat, false)
		}
		free()
	}, true
}

func (l *lanes) lane(vat string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, late := l.late[vat]; late {
		return l.slow
	}
	return l.fast
}

func (l *lanes) setLate(vat string, late bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !late:
		delete(l.late, vat)
	case len(l.late) < mostLate:
		l.late[vat] = struct{}{}
	}
}

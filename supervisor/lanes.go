package supervisor

import (
	"sync"
	"time"
)

// laneTime is the longest time for which a start holds its place. A healthy worker says hello in a tenth of it.
const laneTime = 100 * time.Millisecond

// lanes bounds the number of workers that start at the same time, because the CPU bounds their speed. A worker that does
// not say hello holds its place for laneTime only. From then on its vat is late, and starts in the slow lane, one late vat
// after the other, until a worker of the vat says hello again. So late vats, even many of them, delay one another, and
// delay the starts of all other vats for laneTime at most.
type lanes struct {
	fast, slow chan struct{} // contain one item for each place that is taken
	mu         *sync.Mutex
	late       map[string]struct{} // vats whose last worker did not say hello in time; guarded by mu
}

// mostLate bounds the number of late vats that are remembered, as some of them may be gone.
const mostLate = 10_000

func newLanes(places int) lanes {
	return lanes{
		fast: make(chan struct{}, places), slow: make(chan struct{}, 1),
		mu: new(sync.Mutex), late: map[string]struct{}{},
	}
}

// enter waits for a place, and returns false if over is closed first. The caller gives the place back by calling leave; it
// is free after laneTime in any case.
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

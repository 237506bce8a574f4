package service

import "time"

// The waits of a [Pace].
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 15 * time.Second
)

// Pace spaces answers that come at once and repeat: the end of an input that has ended before, the refusal of a
// call that was refused before. A loop that calls again after each of them then makes a few commits a minute,
// and not hundreds a second. The zero value is ready. It is used by one goroutine at a time.
type Pace struct {
	n     int
	until time.Time
}

// Wait returns how long such an answer has to wait; calls that wait at the same time wait for the same moment.
func (p *Pace) Wait(now time.Time) time.Duration { return max(0, p.until.Sub(now)) }

// Next notes that such an answer was given. The next one waits: 100 ms, then twice as long each time, at most
// 15 seconds. After a while without calls the shortest wait comes again.
func (p *Pace) Next(now time.Time) {
	if now.Sub(p.until) > lastPause {
		p.n = 0
	}
	p.until = now.Add(min(firstPause<<min(p.n, 10), lastPause))
	p.n++
}

// Reset notes an answer that is new: the next end or refusal is reported at once.
func (p *Pace) Reset() { *p = Pace{} }

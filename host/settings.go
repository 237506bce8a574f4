package host

import (
	"time"

	"golang.org/x/sys/unix"
)

// settings finds out when the wall clock is set forward, by hand or by the network: it is then ahead of the
// clock that counts while the machine runs and while it sleeps.
type settings struct {
	wall time.Time
	boot time.Duration
}

// settingSize is the least difference of the two clocks that counts as a setting of the wall clock; a smaller one is drift.
const settingSize = time.Minute

// set reports whether the wall clock was set forward since it was called last.
func (s *settings) set(now time.Time) bool {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return false // a system without that clock
	}
	return s.compare(now.Round(0), time.Duration(ts.Nano()))
}

func (s *settings) compare(wall time.Time, boot time.Duration) bool {
	last := *s
	*s = settings{wall, boot}
	return !last.wall.IsZero() && wall.Sub(last.wall)-(boot-last.boot) > settingSize
}

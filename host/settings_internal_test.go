package host

import (
	"testing"
	"time"
)

func TestOnlyAWallClockThatIsSetForwardIsASetting(t *testing.T) {
	var s settings
	wall, boot := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Hour
	s.compare(wall, boot)
	for _, c := range []struct {
		name       string
		wall, boot time.Duration
		want       bool
	}{
		{"a minute passes", time.Minute, time.Minute, false},
		{"a night asleep", 9 * time.Hour, 9 * time.Hour, false},
		{"slewed", time.Hour + time.Second, time.Hour, false},
		{"set by less than a minute", 2*time.Minute - time.Second, time.Minute, false},
		{"fifty years forward", 50 * 365 * 24 * time.Hour, time.Minute, true},
		{"back again", -50 * 365 * 24 * time.Hour, time.Minute, false},
		{"an hour forward", time.Hour + time.Minute + time.Second, time.Second, true},
	} {
		wall, boot = wall.Add(c.wall), boot+c.boot
		if got := s.compare(wall, boot); got != c.want {
			t.Errorf("%s: got %t, want %t", c.name, got, c.want)
		}
	}
}

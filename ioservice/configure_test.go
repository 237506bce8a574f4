package ioservice_test

import (
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/ioservice"
)

// configured has the channel take its config with one change.
func (v *vat) configured(change func(cfg *ioservice.Config)) error {
	cfg := v.k.cfg
	change(&cfg)
	return v.Configure(cfg)
}

func TestAConfiguredChannelReadsByItsNewBound(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		cfg.MaxUnitBytes = 10
		v, c := pair(t, cfg)
		long := strings.Repeat("x", 20)
		c.say(long + "\n")
		v.read().wantError(ioservice.ErrTooLong)
		if err := v.configured(func(cfg *ioservice.Config) { cfg.MaxUnitBytes = 30 }); err != nil {
			t.Fatal(err)
		}
		c.say(long + "\n")
		v.read().want(long)
		// A read that waits is a later operation, too: the time of the unit decides.
		waits := v.read()
		if err := v.configured(func(cfg *ioservice.Config) { cfg.MaxUnitBytes = 15 }); err != nil {
			t.Fatal(err)
		}
		c.say(long + "\nshort\n")
		waits.wantError(ioservice.ErrTooLong)
		v.read().want("short")
	})
}

func TestAConfiguredChannelWritesByItsNewTime(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Socket, WriteTime: time.Hour})
	if err := v.configured(func(cfg *ioservice.Config) { cfg.WriteTime = 50 * time.Millisecond }); err != nil {
		t.Fatal(err)
	}
	// The client reads nothing, so that at some time nothing is taken any more.
	block := strings.Repeat("x", 1<<19)
	for range 100 {
		if err := receive(t, v.write(block)); err != nil {
			wantKind(t, err, ioservice.ErrTimeout)
			if !strings.Contains(err.Error(), "50ms") {
				t.Errorf("the error does not name the time that holds: %v", err)
			}
			_ = c.Close()
			return
		}
	}
	t.Error("no write has run out of time")
}

func TestConnectionsThatWereAcceptedFollowTheirChannel(t *testing.T) {
	v := openChannel(t, ioservice.Config{Type: ioservice.Socket, MaxUnitBytes: 10})
	accepted, _ := v.accept()
	c := v.dial()
	first := receive(t, accepted)
	if err := v.configured(func(cfg *ioservice.Config) { cfg.MaxUnitBytes = 30 }); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("y", 20)
	c.say(long + "\n")
	first.read().want(long)
	accepted, _ = v.accept()
	c = v.dial()
	c.say(long + "\n")
	receive(t, accepted).read().want(long)
}

func TestWhatAChannelIsCannotBeConfigured(t *testing.T) {
	v, c := pair(t, ioservice.Config{Type: ioservice.Socket})
	for _, change := range []func(cfg *ioservice.Config){
		func(cfg *ioservice.Config) { cfg.Unit = ioservice.Bytes },
		func(cfg *ioservice.Config) { cfg.Direction = ioservice.In },
		func(cfg *ioservice.Config) { cfg.Type = ioservice.Console },
		func(cfg *ioservice.Config) { cfg.MaxUnitBytes = -1 },
	} {
		if err := v.configured(change); err == nil {
			t.Error("it was taken")
		}
	}
	c.say("as before\n")
	v.read().want("as before")
}

package ioservice

import (
	"fmt"
	"strconv"
	"strings"
)

// A channel's state is a short text. That of a file says where the next unit begins; that of a channel with
// a connection, whether the vat knows of a client that has not ended for it.
const (
	stateIdle      = "idle"
	stateConnected = "connected"
	statePlace     = "at "
	stateSkipping  = " inside a line that was too long"
)

// place is how far a file was read.
type place struct {
	offset   int64
	skipping bool // up to the end of the line
}

func (p place) state() []byte {
	text := statePlace + strconv.FormatInt(p.offset, 10)
	if p.skipping {
		text += stateSkipping
	}
	return []byte(text)
}

// parsePlace reads the state of a file. None is the beginning.
func (c Config) parsePlace(state []byte) (place, error) {
	if state == nil {
		return place{}, nil
	}
	var p place
	number, ok := strings.CutPrefix(string(state), statePlace)
	number, p.skipping = strings.CutSuffix(number, stateSkipping)
	offset, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || offset < 0 {
		return place{}, c.foreignState(state)
	}
	p.offset = offset
	return p, nil
}

// parseConnected reads the state of a channel with a connection.
func (c Config) parseConnected(state []byte) (bool, error) {
	switch string(state) {
	case "", stateIdle:
		return false, nil
	case stateConnected:
		return true, nil
	}
	return false, c.foreignState(state)
}

func (c Config) foreignState(state []byte) error {
	return fmt.Errorf("channel %s: its stored state %.40q is not that of a %s: remove the state, or restore the type the channel had", c.Name, state, c.Type)
}

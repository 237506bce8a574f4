package ioservice

import (
	"fmt"
	"strconv"
	"strings"
)

// A channel's state is a short text. The state of a file is the place at which the next unit begins; the state
// of a channel with connections tells whether there is a client whose end the vat has not read.
const (
	stateIdle      = "idle"
	stateConnected = "connected"
	statePlace     = "at "
	stateSkipping  = " inside a line that was too long"
	stateFile      = " of "
)

// place is the point up to which a file was read.
type place struct {
	offset   int64
	skipping bool // up to the end of the line
	// mark identifies the file, stored is the mark that an earlier process has stored. Either may be nil.
	mark   *fileMark
	stored *storedMark
}

func (p place) state() []byte {
	text := statePlace + strconv.FormatInt(p.offset, 10)
	if p.skipping {
		text += stateSkipping
	}
	if p.mark != nil {
		text += stateFile + p.mark.stored(p.offset).String()
	}
	return []byte(text)
}

// parsePlace reads the state of a file. No state is the beginning of the file.
func (c Config) parsePlace(state []byte) (place, error) {
	if state == nil {
		return place{}, nil
	}
	var p place
	number, ok := strings.CutPrefix(string(state), statePlace)
	number, file, marked := strings.Cut(number, stateFile)
	if marked {
		stored, isMark := parseMark(file)
		p.stored, ok = &stored, ok && isMark
	}
	number, p.skipping = strings.CutSuffix(number, stateSkipping)
	offset, err := strconv.ParseInt(number, 10, 64)
	if !ok || err != nil || offset < 0 || p.stored != nil && int64(p.stored.bytes) > offset {
		return place{}, c.foreignState(state)
	}
	p.offset = offset
	return p, nil
}

// parseConnected reads the state of a channel with connections.
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

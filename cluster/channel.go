package cluster

import (
	"time"

	"ocapkernel.dev/internal/limits"
)

// Channel is an IO channel of a subcluster: a way between the vats and the world outside, offered to the
// bootstrap vat as a service under the channel's name.
type Channel struct {
	// Name is unique among the channels and services of the configuration, and has the form of a vat's name.
	Name string
	// Type is the kind of the other end.
	Type ChannelType
	// Path is absolute and clean. A file has one. A socket without one is made in a directory of the
	// kernel's own; one with a path has at most 107 bytes there, as the system demands.
	Path string
	// HostPort is the address of a listen or network channel, in normal form: lower case, an IPv6 address in
	// brackets, a port from 1 to 65535; for listen also 0, which stands for any free port.
	HostPort string
	// Direction decides whether vats may read, write, or both.
	Direction Direction
	// Unit is the result of one read.
	Unit UnitKind
	// MaxUnitBytes bounds the bytes of one read.
	MaxUnitBytes int
	// WriteTime is how long a write may wait for a slow peer.
	WriteTime time.Duration
}

// ChannelType is the kind of the other end of a channel.
type ChannelType string

const (
	// ChannelSocket is a Unix socket on which the kernel listens.
	ChannelSocket ChannelType = "socket"
	// ChannelListen is a TCP address on which the kernel listens.
	ChannelListen ChannelType = "listen"
	// ChannelNetwork is a TCP address to which the kernel connects.
	ChannelNetwork ChannelType = "network"
	// ChannelFile is a file: it is read from its beginning, and appended to.
	ChannelFile ChannelType = "file"
	// ChannelConsole is the standard input and output of the kernel; a configuration has one at most.
	ChannelConsole ChannelType = "console"
)

var channelTypes = []string{
	string(ChannelSocket), string(ChannelListen), string(ChannelNetwork), string(ChannelFile), string(ChannelConsole),
}

// Direction is the way in which a channel carries data, seen from the vats.
type Direction string

const (
	// DirectionIn is for reading only.
	DirectionIn Direction = "in"
	// DirectionOut is for writing only.
	DirectionOut Direction = "out"
	// DirectionInOut, the default, is for both.
	DirectionInOut Direction = "inout"
)

// directions begin with the default.
var directions = []string{string(DirectionInOut), string(DirectionIn), string(DirectionOut)}

// UnitKind is the kind of text or bytes that one read of a channel returns.
type UnitKind string

// The kinds of unit.
const (
	// UnitLine, the default, is text up to a newline, without it; writing adds one.
	UnitLine UnitKind = "line"
	// UnitString is the text that has arrived, cut at a character.
	UnitString UnitKind = "string"
	// UnitChars is one character (code point).
	UnitChars UnitKind = "chars"
	// UnitBytes is the bytes that have arrived, base64 in a vat's message.
	UnitBytes UnitKind = "bytes"
)

// unitNames begin with the default.
var unitNames = []string{string(UnitLine), string(UnitString), string(UnitChars), string(UnitBytes)}

const (
	maxChannels         = limits.Channels
	maxSocketPathBytes  = limits.SocketPathBytes
	defaultMaxUnitBytes = limits.UnitBytes
	lowestMaxUnitBytes  = limits.LeastUnitBytes
	highestMaxUnitBytes = limits.MostUnitBytes
	defaultWriteTime    = limits.Write
	lowestWriteTime     = 10 * time.Millisecond
	highestWriteTime    = time.Hour
)

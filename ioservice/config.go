package ioservice

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"ocapkernel.dev/internal/limits"
)

// Type is the type of a channel.
type Type string

// The types of channel.
const (
	Socket  Type = "socket"  // a Unix socket to which clients connect
	Listen  Type = "listen"  // a TCP port to which clients connect
	Network Type = "network" // a TCP connection that the channel makes when it is used
	File    Type = "file"    // a regular file
	Console Type = "console" // standard input and output
)

// Direction is the way in which a channel is used.
type Direction string

// The directions, as the vat sees them.
const (
	In    Direction = "in"    // only read
	Out   Direction = "out"   // only written
	InOut Direction = "inout" // both
)

// UnitKind is the kind of text or bytes that one read gives and one write takes.
type UnitKind string

// The kinds of unit.
const (
	// Line is UTF-8 text without its end of line, which is "\n" or "\r\n" when read, "\n" when written.
	Line UnitKind = "line"
	// String is the UTF-8 text that has arrived, at least one character.
	String UnitKind = "string"
	// Chars is one code point for each read. A write takes any text.
	Chars UnitKind = "chars"
	// Bytes is the bytes that have arrived, at least one, in standard base64.
	Bytes UnitKind = "bytes"
)

// Bounds of a stream, and the defaults of a Config.
const (
	maxReads      = limits.Reads       // reads, or accepts, that wait
	maxStreams    = limits.Connections // connections that were accepted and not closed
	maxWrites     = limits.Writes      // writes that wait
	maxWriteBytes = limits.WriteBytes  // bytes of all waiting writes
	maxChunkBytes = limits.ChunkBytes

	defaultUnitBytes = limits.UnitBytes
	maxUnitBytes     = 16 << 20
	defaultWriteTime = limits.Write
)

// Config describes a channel.
type Config struct {
	// Name is the channel's name in errors and logs; a socket without a Path is named after it.
	Name string
	Type Type
	// Path is the path of a socket or a file.
	Path string
	// HostPort is the address on which to listen, or to which to connect.
	HostPort string
	// Direction; empty means InOut.
	Direction Direction
	// Unit; empty means Line.
	Unit UnitKind
	// MaxUnitBytes bounds the result of one read, before base64; zero means 1 MiB. String and Bytes give at
	// most 64 KiB in any case.
	MaxUnitBytes int
	// WriteTime is how long a write may take, and a connection to be made; zero means 10 seconds.
	WriteTime time.Duration
}

func (c Config) reads() bool  { return c.Direction != Out }
func (c Config) writes() bool { return c.Direction != In }

// accepts reports whether clients connect to the channel.
func (c Config) accepts() bool { return c.Type == Socket || c.Type == Listen }

// filled returns the config with its defaults filled in, or an error that describes its fault.
func (c Config) filled() (Config, error) {
	if c.Direction == "" {
		c.Direction = InOut
	}
	if c.Unit == "" {
		c.Unit = Line
	}
	if c.MaxUnitBytes == 0 {
		c.MaxUnitBytes = defaultUnitBytes
	}
	if c.WriteTime == 0 {
		c.WriteTime = defaultWriteTime
	}
	var problem string
	switch {
	case c.Name == "" || !utf8.ValidString(c.Name) || strings.ContainsAny(c.Name, "/\x00\n"):
		problem = "the name must be text without slashes"
	case c.Direction != In && c.Direction != Out && c.Direction != InOut:
		problem = fmt.Sprintf("direction %q is unknown: use in, out or inout", c.Direction)
	case c.Unit != Line && c.Unit != String && c.Unit != Chars && c.Unit != Bytes:
		problem = fmt.Sprintf("unit %q is unknown: use line, string, chars or bytes", c.Unit)
	case c.MaxUnitBytes < 0 || c.MaxUnitBytes > maxUnitBytes:
		problem = fmt.Sprintf("a unit of %d bytes: use 1 to %d", c.MaxUnitBytes, maxUnitBytes)
	case c.WriteTime < 0:
		problem = fmt.Sprintf("a write time of %v: use a positive one", c.WriteTime)
	case strings.ContainsRune(c.Path, 0):
		problem = "the path contains a zero byte"
	case c.Path != "" && c.Type != Socket && c.Type != File:
		problem = fmt.Sprintf("a channel of type %s has no path: leave it out", c.Type)
	case c.HostPort != "" && c.Type != Listen && c.Type != Network:
		problem = fmt.Sprintf("a channel of type %s has no hostport: leave it out", c.Type)
	case c.Type == File && c.Path == "":
		problem = "a file needs a path"
	case c.Type == Listen || c.Type == Network:
		problem = hostPortProblem(c.HostPort, c.Type == Network)
	case c.Type != Socket && c.Type != File && c.Type != Console:
		problem = fmt.Sprintf("type %q is unknown: use socket, listen, network, file or console", c.Type)
	}
	if problem != "" {
		return c, fmt.Errorf("channel %q: %s", c.Name, problem)
	}
	return c, nil
}

func hostPortProblem(hostPort string, dialed bool) string {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return fmt.Sprintf("hostport %q: use host:port, such as 127.0.0.1:7000", hostPort)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || dialed && n == 0 {
		return fmt.Sprintf("hostport %q: the port must be a number up to 65535", hostPort)
	}
	if dialed && host == "" {
		return fmt.Sprintf("hostport %q: say which host to connect to", hostPort)
	}
	return ""
}

package cluster

import (
	"fmt"
	"net"
	"slices"
)

var channelFields = []string{"type", "path", "hostport", "direction", "unit", "maxUnit", "writeTime"}

// channels reads all IO channels, also those with mistakes.
func (d *decoder) channels(o object) []Channel {
	v := o.fields["io"]
	entries := d.entries(v, "io")
	if len(entries) > maxChannels {
		d.problem(v, "io", "there are %d channels: the limit is %d", len(entries), maxChannels)
		return nil
	}
	var channels []Channel
	for _, e := range entries {
		path := join("io", e.name)
		if !validVatName(e.name) {
			d.problem(e.at, "io", "%s is not a name for a channel: "+
				"expected a letter, then up to 63 letters, digits, '_' and '-'", quote(e.name))
		}
		d.doc.places[path] = e.at.StartOffset
		c := d.channel(e, path)
		d.rivals(e, path, c, channels)
		channels = append(channels, c)
	}
	return channels
}

func (d *decoder) channel(e entry, path string) Channel {
	o := d.object(e.value, path, channelFields)
	c := Channel{Name: e.name}
	if e.value.Value.Kind() != '{' {
		return c
	}
	name, v, ok := d.str(o, "type")
	switch {
	case v == nil:
		d.problem(e.at, path, `"type" is missing: give one of %s`, quoted(channelTypes))
	case ok && !slices.Contains(channelTypes, name):
		d.problem(v, join(path, "type"), "unknown value %s: %s", quote(name), suggest(name, channelTypes))
	case ok:
		c.Type = ChannelType(name)
	}
	c.Direction = Direction(d.choice(o, "direction", directions...))
	c.Unit = UnitKind(d.choice(o, "unit", unitNames...))
	c.MaxUnitBytes = d.size(o, "maxUnit", defaultMaxUnitBytes, lowestMaxUnitBytes, highestMaxUnitBytes)
	c.WriteTime = d.duration(o, "writeTime", defaultWriteTime, lowestWriteTime, highestWriteTime)
	for _, field := range channelFields {
		v := o.fields[field]
		if v == nil {
			continue
		}
		if why := useless(c, field); why != "" {
			d.problem(v, join(path, field), "%s: leave it out", why)
		}
	}
	if c.Unit == UnitChars && c.Direction == DirectionOut {
		d.problem(o.fields["unit"], join(path, "unit"),
			`"chars" says how reading cuts, and the direction is "out": use "string"`)
	}
	switch c.Type {
	case ChannelSocket:
		c.Path = d.socketPath(o)
	case ChannelFile:
		c.Path = d.filePath(e, o)
	case ChannelListen, ChannelNetwork:
		c.HostPort = d.hostPort(e, o, c.Type)
	}
	return c
}

// useless returns the reason why a field has no meaning for a channel, or "". A field that would be read and
// then ignored is a misunderstanding that the author of the file has to learn of.
func useless(c Channel, field string) string {
	switch {
	case field == "path" && (c.Type == ChannelListen || c.Type == ChannelNetwork):
		return fmt.Sprintf(`a channel of type %q has an address ("hostport"), no path`, c.Type)
	case field == "hostport" && (c.Type == ChannelSocket || c.Type == ChannelFile):
		return fmt.Sprintf(`a channel of type %q has a path, no address (for TCP, the type is "listen" or "network")`, c.Type)
	case (field == "path" || field == "hostport") && c.Type == ChannelConsole:
		return "the console is the kernel's own standard input and output"
	case field == "writeTime" && c.Type == ChannelFile:
		return "a file has no peer that a write could wait for"
	case field == "writeTime" && c.Direction == DirectionIn:
		return `nothing is written, as the direction is "in"`
	case field == "maxUnit" && c.Unit == UnitChars && c.Direction == DirectionIn:
		return "a character has at most 4 bytes"
	case field == "maxUnit" && c.Direction == DirectionOut:
		return `nothing is read, as the direction is "out"`
	}
	return ""
}

// rivals reports the resources that c claims for itself and that a channel before it in the file has.
func (d *decoder) rivals(e entry, path string, c Channel, before []Channel) {
	for _, b := range before {
		switch {
		case c.Type == ChannelConsole && b.Type == ChannelConsole:
			d.problem(e.at, path, "there is one console, and the channel %s is it: keep one of them", quote(b.Name))
		case c.Path != "" && c.Path == b.Path && (c.Type == ChannelSocket || b.Type == ChannelSocket):
			d.problem(e.at, path, "the channel %s has the path %s already: a socket needs one of its own", quote(b.Name), quote(c.Path))
		case c.Type == ChannelListen && b.Type == ChannelListen && c.HostPort != "" && c.HostPort == b.HostPort && !anyPort(c.HostPort):
			d.problem(e.at, path, "the channel %s listens on %s already: take another port, or 0 for any free one", quote(b.Name), c.HostPort)
		default:
			continue
		}
		return
	}
}

func anyPort(hostPort string) bool {
	_, port, _ := net.SplitHostPort(hostPort)
	return port == "0"
}

// socketPath returns the absolute path of a socket, or "" if the kernel chooses the path.
func (d *decoder) socketPath(o object) string {
	given, v, ok := d.str(o, "path")
	if !ok || given == "" {
		return ""
	}
	path, where := d.absolute(given)
	switch problem := unusable(path); {
	case problem != "":
		d.problem(v, join(o.path, "path"), "the socket %s%s %s", quote(given), where, problem)
	case len(path) > maxSocketPathBytes:
		d.problem(v, join(o.path, "path"), "the absolute path of the socket, %s, has %d bytes: the limit is %d; "+
			"choose a shorter one, or leave it out for one of the kernel's choice", quote(path), len(path), maxSocketPathBytes)
	default:
		return path
	}
	return ""
}

// filePath returns the absolute path of a file, which need not exist yet.
func (d *decoder) filePath(e entry, o object) string {
	given, v, ok := d.str(o, "path")
	switch {
	case v == nil:
		d.problem(e.at, o.path, `"path" is missing: name the file`)
		return ""
	case !ok:
		return ""
	case given == "":
		d.problem(v, join(o.path, "path"), "the path is empty: name the file")
		return ""
	}
	path, where := d.absolute(given)
	if problem := unusable(path); problem != "" {
		d.problem(v, join(o.path, "path"), "the file %s%s %s", quote(given), where, problem)
		return ""
	}
	return path
}

// hostPort returns the address of a listen or network channel.
func (d *decoder) hostPort(e entry, o object, t ChannelType) string {
	given, v, ok := d.str(o, "hostport")
	switch {
	case v == nil && t == ChannelListen:
		d.problem(e.at, o.path, `"hostport" is missing: give the address to listen on, such as "127.0.0.1:7000"`)
	case v == nil:
		d.problem(e.at, o.path, `"hostport" is missing: give the address to connect to, such as "example.org:7000"`)
	}
	if !ok {
		return ""
	}
	normal, problem := normalHostPort(given, t == ChannelListen)
	if problem != "" {
		d.problem(v, join(o.path, "hostport"), "%s %s", quote(given), problem)
	}
	return normal
}

package cluster

import (
	"bytes"
	"encoding/json"
)

// JSON returns the configuration in the form of its file, with every default written out, and vats and channels in
// their order. Paths are absolute.
func (c *Config) JSON() ([]byte, error) {
	vats := make(ordered, 0, len(c.Vats))
	for _, v := range c.Vats {
		vats = append(vats, entryOf{v.Name, without(map[string]any{
			"module": v.Module, "worker": v.Worker, "sha256": v.SHA256, "parameters": v.Parameters,
			"restart": v.Restart, "maxRestarts": v.MaxRestarts, "onFault": v.OnFault, "reapInterval": v.ReapInterval, "sandbox": string(v.Sandbox),
			"limits": map[string]any{
				"delivery": span(v.Limits.Delivery), "syscalls": v.Limits.Syscalls, "frameBytes": v.Limits.FrameBytes,
				"queue": v.Limits.Queue, "transcript": v.Limits.Transcript,
			},
		})})
	}
	out := ordered{
		{"bootstrap", c.Bootstrap},
		{"limits", map[string]any{"bootstrap": span(c.Limits.Bootstrap)}},
		{"vats", vats},
	}
	if len(c.IO) > 0 {
		channels := make(ordered, 0, len(c.IO))
		for _, ch := range c.IO {
			fields := without(map[string]any{
				"type": ch.Type, "path": ch.Path, "hostport": ch.HostPort, "direction": ch.Direction, "unit": ch.Unit,
			})
			// A field that has no meaning for a channel may not be given.
			if ch.Direction != DirectionOut && ch.Unit != UnitChars {
				fields["maxUnit"] = ch.MaxUnitBytes
			}
			if ch.Direction != DirectionIn && ch.Type != ChannelFile {
				fields["writeTime"] = span(ch.WriteTime)
			}
			channels = append(channels, entryOf{ch.Name, fields})
		}
		out = append(out, entryOf{"io", channels})
	}
	if len(c.Services) > 0 {
		var services []any
		for _, s := range c.Services {
			services = append(services, without(map[string]any{
				"name": s.Name, "service": s.Service, "root": s.Root, "readOnly": s.ReadOnly, "hosts": s.Hosts,
			}))
		}
		out = append(out, entryOf{"services", services})
	}
	return json.Marshal(out)
}

// entryOf is a member of an object whose order is kept.
type entryOf struct {
	name  string
	value any
}

type ordered []entryOf

// MarshalJSON writes an object.
func (m ordered) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range m {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(e.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(e.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// without removes fields that have no value.
func without(fields map[string]any) map[string]any {
	for name, v := range fields {
		switch v := v.(type) {
		case string:
			if v == "" {
				delete(fields, name)
			}
		case json.RawMessage:
			if v == nil {
				delete(fields, name)
			}
		case []string:
			if v == nil {
				delete(fields, name)
			}
		case bool:
			if !v {
				delete(fields, name)
			}
		}
	}
	return fields
}

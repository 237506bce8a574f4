package cluster

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Change is one difference between the configuration that a subcluster runs and another one.
type Change struct {
	// Field is the path of the field that differs, as in messages about mistakes: vats.mint.limits.queue,
	// io.door.
	Field string `json:"field"`
	// Kind tells whether the field was added, changed or removed.
	Kind ChangeKind `json:"kind"`
	// Applies is the time at which the change has an effect on the running subcluster, or that it cannot have
	// one.
	Applies Applies `json:"applies"`
	// Old and New are the values, for a person. Old is empty for an added field, New for a removed one.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
}

// ChangeKind tells whether a field was added, changed or removed.
type ChangeKind string

// The kinds of change: a closed set.
const (
	Added   ChangeKind = "added"
	Changed ChangeKind = "changed"
	Removed ChangeKind = "removed"
)

// Applies is the time at which a change has an effect.
type Applies string

// The times at which a change has an effect: a closed set.
const (
	// ApplyLive changes have an effect at once.
	ApplyLive Applies = "live"
	// ApplyStart changes have an effect when the vat's worker is started the next time; those of a channel or
	// service, when the kernel is.
	ApplyStart Applies = "start"
	// ApplyNew changes have an effect on vats that are made later, by a reload say; existing vats go on as they
	// are.
	ApplyNew Applies = "new"
	// ApplyReplace changes cannot be made to a running subcluster: only a new subcluster in its place, without
	// its state, can have them. They take a vat, channel or service away, or change a property that vats have
	// learned: the module of a vat, the address of a channel, the form of its reads.
	ApplyReplace Applies = "replace"
)

// Diff compares the configuration that a subcluster runs with another one. It lists the changes in the order of
// the new file, and removed fields behind them. Source, Hash and the order of vats, channels and services are
// not compared.
func Diff(from, to *Config) []Change {
	var d diff
	d.field("bootstrap", ApplyReplace, from.Bootstrap, to.Bootstrap)
	d.field("limits.bootstrap", ApplyNew, from.Limits.Bootstrap, to.Limits.Bootstrap)
	members(&d, "vats", from.Vats, to.Vats, func(v Vat) string { return v.Name }, describeVat, d.vat)
	members(&d, "io", from.IO, to.IO, func(c Channel) string { return c.Name }, describeChannel, d.channel)
	members(&d, "services", from.Services, to.Services, func(s Service) string { return s.Name }, describeService, d.service)
	return d.changes
}

// NeedReplace returns the changes that cannot be made to a running subcluster.
func NeedReplace(changes []Change) (out []Change) {
	for _, c := range changes {
		if c.Applies == ApplyReplace {
			out = append(out, c)
		}
	}
	return out
}

// String describes a change in a line.
func (c Change) String() string {
	what := c.Field + " is " + string(c.Kind)
	switch c.Kind {
	case Added:
		what += ": " + c.New
	case Changed:
		what += fmt.Sprintf(" from %s to %s", c.Old, c.New)
	}
	return what
}

type diff struct{ changes []Change }

// members compares two lists of named things.
func members[T any](d *diff, path string, from, to []T, name func(T) string, describe func(T) string, compare func(path string, from, to T)) {
	find := func(list []T, n string) int { return slices.IndexFunc(list, func(v T) bool { return name(v) == n }) }
	for _, v := range to {
		field := path + "." + name(v)
		if i := find(from, name(v)); i >= 0 {
			compare(field, from[i], v)
		} else {
			d.changes = append(d.changes, Change{Field: field, Kind: Added, Applies: ApplyLive, New: describe(v)})
		}
	}
	for _, v := range from {
		if find(to, name(v)) < 0 {
			d.changes = append(d.changes, Change{Field: path + "." + name(v), Kind: Removed, Applies: ApplyReplace, Old: describe(v)})
		}
	}
}

func (d *diff) vat(path string, from, to Vat) {
	d.field(path+".module", ApplyReplace, from.Module, to.Module)
	d.field(path+".worker", ApplyStart, from.Worker, to.Worker)
	d.field(path+".sha256", ApplyStart, from.SHA256, to.SHA256)
	if !sameJSON(from.Parameters, to.Parameters) {
		d.field(path+".parameters", ApplyNew, string(from.Parameters), string(to.Parameters))
	}
	d.field(path+".restart", ApplyLive, from.Restart, to.Restart)
	d.field(path+".maxRestarts", ApplyLive, from.MaxRestarts, to.MaxRestarts)
	d.field(path+".onFault", ApplyLive, from.OnFault, to.OnFault)
	d.field(path+".reapInterval", ApplyLive, from.ReapInterval, to.ReapInterval)
	d.field(path+".sandbox", ApplyStart, from.Sandbox, to.Sandbox)
	d.field(path+".limits.delivery", ApplyStart, from.Limits.Delivery, to.Limits.Delivery)
	d.field(path+".limits.syscalls", ApplyStart, from.Limits.Syscalls, to.Limits.Syscalls)
	d.field(path+".limits.frameBytes", ApplyStart, from.Limits.FrameBytes, to.Limits.FrameBytes)
	d.field(path+".limits.queue", ApplyLive, from.Limits.Queue, to.Limits.Queue)
	d.field(path+".limits.transcript", ApplyLive, from.Limits.Transcript, to.Limits.Transcript)
}

func (d *diff) channel(path string, from, to Channel) {
	d.field(path+".type", ApplyReplace, from.Type, to.Type)
	d.field(path+".path", ApplyReplace, from.Path, to.Path)
	d.field(path+".hostport", ApplyReplace, from.HostPort, to.HostPort)
	d.field(path+".direction", ApplyReplace, from.Direction, to.Direction)
	d.field(path+".unit", ApplyReplace, from.Unit, to.Unit)
	d.field(path+".maxUnit", ApplyLive, from.MaxUnitBytes, to.MaxUnitBytes)
	d.field(path+".writeTime", ApplyLive, from.WriteTime, to.WriteTime)
	before, after := from, to
	for _, c := range []*Channel{&before, &after} { // a field that is not compared above must not pass unseen
		c.Type, c.Path, c.HostPort, c.Direction, c.Unit, c.MaxUnitBytes, c.WriteTime = "", "", "", "", "", 0, 0
	}
	d.field(path, ApplyReplace, fmt.Sprintf("%+v", before), fmt.Sprintf("%+v", after))
}

func (d *diff) service(path string, from, to Service) {
	d.field(path+".service", ApplyReplace, from.Service, to.Service)
	d.field(path+".root", ApplyReplace, from.Root, to.Root)
	d.field(path+".readOnly", ApplyLive, from.ReadOnly, to.ReadOnly)
	d.field(path+".hosts", ApplyLive, strings.Join(from.Hosts, " "), strings.Join(to.Hosts, " "))
}

// field compares two values of one type.
func (d *diff) field(path string, applies Applies, from, to any) {
	if from != to {
		d.changes = append(d.changes, Change{path, Changed, applies, describe(from), describe(to)})
	}
}

// describe returns a value in a few words.
func describe(v any) string {
	switch v := v.(type) {
	case time.Duration:
		return v.String()
	case string:
		switch {
		case v == "":
			return "nothing"
		case json.Valid([]byte(v)):
			return shorten(v)
		}
		return quote(v)
	}
	return shorten(fmt.Sprint(v))
}

func describeVat(v Vat) string { return "module " + v.Module }

func describeChannel(c Channel) string { return "a " + string(c.Type) + " channel" }

func describeService(s Service) string { return "the service " + s.Service }

// sameJSON reports whether two texts are the same value: rows of earlier versions have "\u003c" where the file has "<".
func sameJSON(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return (a == nil) == (b == nil)
	}
	value := func(text []byte) (v any, err error) {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		err = d.Decode(&v)
		return v, err
	}
	x, errX := value(a)
	y, errY := value(b)
	return errX == nil && errY == nil && reflect.DeepEqual(x, y)
}

package model_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// A command is one step of a program. It is data alone, so that a program that fails can be made smaller: numbers that name
// something are taken modulo what there is.
type command struct {
	// Do is one of
	//
	//	people   each vat gets two of the vats, and makes two things
	//	send     a call from outside, of act with Ops and Args, to the object Target
	//	step     N cranks
	//	kill     the worker of Vat dies
	//	fail     the kernel dies after N more commits, and another one starts
	//	rest     all comes to rest, and the vats are looked at
	//	release  the host lets the answer N go
	//	repeat   an earlier call comes again, under its ticket
	//	end      all comes to rest, and Vat ends for ever
	//	restart  all comes to rest, and Vat loses its memory
	//	sweep    all comes to rest, and what nobody needs goes, circles too, of what is kept by vats whose memory has no promise to settle
	//	collect  all comes to rest, promises are settled, what nobody needs goes, and the rows are counted
	Do     string
	Vat    int
	N      int
	Target int
	Args   []int
	Ops    []op
}

func (c command) String() string {
	switch c.Do {
	case "send":
		return fmt.Sprintf("send to %d %v: %+v", c.Target, c.Args, c.Ops)
	case "kill", "restart", "end", "people":
		return fmt.Sprint(c.Do, " ", c.Vat)
	}
	return fmt.Sprint(c.Do, " ", c.N)
}

// A program is what happens to a system.
type program struct {
	// ReapInterval is that of the vats.
	ReapInterval int
	Commands     []command
}

var (
	keys    = []string{"fa", "fb", "fc", "ma", "mb"}
	objects = []string{"self", "a0", "a1", "late", "root", "fa", "fb", "fc", "ma", "mb"}
	waiting = []string{"last", "last", "p0", "p1", "open fa", "open ma"}
	// What commands and operations do, as often as it is drawn.
	often  = []string{"send", "send", "send", "send", "send", "send", "step", "step", "kill", "release", "repeat"}
	rarely = []string{"fail", "rest", "sweep", "restart", "end", "collect"}
	local  = []string{"put", "put", "put", "put", "drop", "new", "new", "new", "delete", "when", "when", "promise", "promise", "settle", "settle", "ring", "reject", "answer", "answer", "answer", "refuse"}
	all    = append([]string{"send", "send", "send", "send", "send", "send", "send"}, local...)
)

// draw draws a program.
func draw(t *rapid.T) program {
	p := program{ReapInterval: rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "reapInterval")}
	if rapid.IntRange(0, 3).Draw(t, "people") > 0 {
		for vat := range names {
			p.Commands = append(p.Commands, command{Do: "people", Vat: vat})
		}
	}
	for _, part := range rapid.SliceOfN(rapid.SliceOfN(rapid.Custom(drawCommand), 1, 8), 1, 8).Draw(t, "commands") { // more than a slice alone
		p.Commands = append(p.Commands, part...)
	}
	p.Commands = append(p.Commands, command{Do: "collect"})
	id, deletes := 0, rapid.IntRange(0, 2).Draw(t, "deletes") == 2
	for _, c := range p.Commands {
		number(c.Ops, &id, deletes)
	}
	return p
}

// number gives each operation a number of its own. Programs that delete nothing have more to count, see withoutNames.
func number(ops []op, id *int, deletes bool) {
	for i := range ops {
		if ops[i].Do == "delete" && !deletes {
			ops[i] = op{Do: "drop", Key: "fb"}
		}
		*id++
		ops[i].ID = *id
		number(ops[i].Ops, id, deletes)
	}
}

func drawCommand(t *rapid.T) command {
	c := command{Do: pick(t, "do", often, rarely)}
	switch c.Do {
	case "send":
		c.Target = rapid.IntRange(0, 7).Draw(t, "target")
		c.Args = rapid.SliceOfN(rapid.IntRange(0, 7), 0, 2).Draw(t, "args")
		c.Ops = drawOps(t, 2)
	case "kill", "restart", "end":
		c.Vat = rapid.IntRange(0, len(names)-1).Draw(t, "vat")
	case "step":
		c.N = rapid.IntRange(1, 6).Draw(t, "n")
	case "fail":
		c.N = rapid.IntRange(0, 6).Draw(t, "n")
	case "release", "repeat":
		c.N = rapid.IntRange(0, 3).Draw(t, "n")
	}
	return c
}

// pick draws one of several texts.
func pick(t *rapid.T, what string, from ...[]string) string {
	return rapid.SampledFrom(slices.Concat(from...)).Draw(t, what)
}

func drawOps(t *rapid.T, depth int) []op {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op { return drawOp(t, depth) }), 1, 6).Draw(t, "ops")
}

func drawOp(t *rapid.T, depth int) op {
	kinds := local
	if depth > 0 {
		kinds = all
	}
	o := op{Do: pick(t, "op", kinds)}
	switch o.Do {
	case "put":
		o.Key, o.Ref = pick(t, "key", keys), pick(t, "object", objects)
	case "drop", "new":
		o.Key = pick(t, "key", keys)
	case "delete", "ring":
		o.Ref = pick(t, "object", objects)
	case "when":
		o.Key, o.Ref = pick(t, "key", keys), pick(t, "promise", waiting)
	case "promise", "reject":
		o.Key = pick(t, "key", []string{"fa", "ma"})
	case "settle":
		o.Key, o.Ref = pick(t, "key", []string{"fa", "ma"}), pick(t, "object", objects, objects, waiting)
	case "answer":
		o.Ref = pick(t, "answer", objects, waiting)
	case "send":
		o.Ref = pick(t, "target", objects, waiting)
		o.Args = rapid.SliceOfN(rapid.SampledFrom(objects), 0, 2).Draw(t, "args")
		o.Proms = rapid.SliceOfN(rapid.SampledFrom(waiting), 0, 2).Draw(t, "proms")
		if rapid.IntRange(0, 3).Draw(t, "late") == 0 {
			o.Late = pick(t, "late", objects, waiting)
		}
		o.Ops = drawOps(t, depth-1)
	}
	return o
}

// String is the program as Go code, for a test of its own.
func (p program) String() string {
	text := fmt.Sprintf("program{ReapInterval: %d, Commands: []command{\n", p.ReapInterval)
	for _, c := range p.Commands {
		text += "\t" + code(c) + ",\n"
	}
	return text + "}}"
}

// code is a struct as Go code, without the zero fields.
func code(v any) string {
	text := ""
	for f, x := range reflect.ValueOf(v).Fields() {
		if x.IsZero() {
			continue
		}
		if x.Kind() != reflect.Slice || x.Type().Elem().Kind() != reflect.Struct {
			text += fmt.Sprintf("%s: %#v, ", f.Name, x.Interface())
			continue
		}
		text += f.Name + ": []op{"
		for i := range x.Len() {
			text += code(x.Index(i).Interface()) + ", "
		}
		text = strings.TrimSuffix(text, ", ") + "}, "
	}
	return "{" + strings.TrimSuffix(text, ", ") + "}"
}

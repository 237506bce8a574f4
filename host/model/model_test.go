package model_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The model is what the kernel and its vats are for their users: objects that keep references, promises, and messages that
// are under way. It knows what can be reached, has no reference counts, and loses nothing.
//
// The order in which vats get messages is the kernel's choice. Each vat logs what it ran; the model runs the same in that
// order (replay), and finds what no order allows: a message that was lost, was delivered twice, to another object, or
// before an earlier one of the same sender to the same target.
type model struct {
	vats  map[string]*modelVat
	msgs  map[int]*message
	heard map[int]*watch
	// handles are the objects that answers to the host refer to, by ticket.
	handles map[string]*entity
	// order numbers the messages as they are sent.
	order int
	// circle says that a promise follows itself, by way of others: it is never settled, or rejected.
	circle bool
}

type modelVat struct {
	name string
	root *entity
	// things are all things that the vat ever made.
	things []*entity
	open   map[string]*promise
	// following are promises that the vat will settle as another one is.
	following []*promise
	dead      bool
	log       []string
}

type entity struct {
	vat  *modelVat
	name string
	held map[string]*entity
	// deleted says that the vat deleted the thing, collected that nothing led to it when all was at rest.
	deleted, collected bool
}

func (o *entity) String() string { return o.vat.name + " " + o.name }

func (o *entity) isGone() bool { return o.deleted || o.vat.dead }

// value is an object or a promise.
type value struct {
	object  *entity
	promise *promise
}

// promise is settled with an object, with nothing, or with a reason for which it is rejected; or it follows another one.
type promise struct {
	settled bool
	object  *entity
	reason  string
	follows *promise
}

// end returns the promise at the end of the promises that p follows.
func (p *promise) end() *promise {
	for p.follows != nil {
		p = p.follows
	}
	return p
}

func (p *promise) settle(o *entity, reason string) {
	p.settled, p.object, p.reason = true, o, reason
}

// message is an act.
type message struct {
	id     int
	sender *modelVat // nil for the host
	order  int
	target value
	ops    []op
	args   []*entity
	proms  []*promise
	late   value
	result *promise
	over   bool
}

// watch is a continuation.
type watch struct {
	on   *promise
	self *entity
	key  string
	over bool
}

func newModel(names ...string) *model {
	m := &model{vats: map[string]*modelVat{}, msgs: map[int]*message{}, heard: map[int]*watch{}, handles: map[string]*entity{}}
	for _, name := range names {
		v := &modelVat{name: name, open: map[string]*promise{}}
		v.root = &entity{vat: v, name: "root", held: map[string]*entity{}}
		m.vats[name] = v
	}
	return m
}

// introduce does what bootstrap of a vat does.
func (m *model) introduce(to string, names ...string) {
	for _, name := range names {
		m.vats[to].root.held["f"+name] = m.vats[name].root
	}
}

func (m *model) send(msg *message) {
	m.order++
	msg.order, msg.result = m.order, &promise{}
	m.msgs[msg.id] = msg
}

// turnOf is a run of act in the model.
type turnOf struct {
	*message
	v    *modelVat
	self *entity
	last *promise
}

func (t *turnOf) ref(name string) *entity {
	switch name {
	case "self":
		return t.self
	case "root":
		return t.v.root
	case "late":
		if t.late.promise != nil {
			return t.late.promise.end().object
		}
		return t.late.object
	case "a0", "a1":
		if i := int(name[1] - '0'); i < len(t.args) {
			return t.args[i]
		}
		return nil
	}
	return t.self.held[name]
}

func (t *turnOf) promise(name string) *promise {
	switch key, isOpen := strings.CutPrefix(name, "open "); {
	case isOpen:
		return t.v.open[key]
	case name == "last":
		return t.last
	case (name == "p0" || name == "p1") && int(name[1]-'0') < len(t.proms):
		return t.proms[name[1]-'0']
	}
	return nil
}

func (t *turnOf) value(name string) value {
	if p := t.promise(name); p != nil {
		return value{promise: p}
	}
	return value{object: t.ref(name)}
}

// run runs an act.
func (m *model) run(t *turnOf) {
	t.over = true
	var answer value
run:
	for _, o := range t.ops {
		switch o.Do {
		case "put":
			if r := t.ref(o.Ref); r != nil {
				t.self.held[o.Key] = r
			}
		case "drop":
			delete(t.self.held, o.Key)
		case "new":
			it := &entity{vat: t.v, name: fmt.Sprint("t", o.ID), held: map[string]*entity{}}
			t.v.things = append(t.v.things, it)
			t.self.held[o.Key] = it
		case "delete":
			if r := t.ref(o.Ref); r != nil && r.vat == t.v && r != t.v.root {
				r.deleted = true
				r.held = map[string]*entity{}
				if r == t.self {
					break run
				}
			}
		case "send":
			to := t.value(o.Ref)
			if to == (value{}) {
				continue
			}
			msg := &message{id: o.ID, sender: t.v, target: to, ops: o.Ops, late: t.value(o.Late)}
			for _, name := range o.Args {
				if r := t.ref(name); r != nil {
					msg.args = append(msg.args, r)
				}
			}
			for _, name := range o.Proms {
				if p := t.promise(name); p != nil {
					msg.proms = append(msg.proms, p)
				}
			}
			m.send(msg)
			t.last = msg.result
		case "when":
			if p := t.promise(o.Ref); p != nil {
				m.heard[o.ID] = &watch{on: p, self: t.self, key: o.Key}
			}
		case "promise":
			if t.v.open[o.Key] == nil {
				t.v.open[o.Key] = &promise{}
				m.heard[o.ID] = &watch{on: t.v.open[o.Key], self: t.self, key: o.Key}
			}
		case "settle":
			p, with := t.v.open[o.Key], t.value(o.Ref)
			if p == nil || with == (value{}) {
				continue
			}
			m.resolve(t.v, p, with)
			delete(t.v.open, o.Key)
		case "ring":
			if r := t.ref(o.Ref); r != nil {
				m.send(&message{id: o.ID, sender: t.v, target: value{object: r}})
			}
		case "reject":
			for key, p := range t.v.open { // in any order
				if o.Key == "" || o.Key == key {
					p.settle(nil, "refused")
					delete(t.v.open, key)
				}
			}
		case "answer":
			if v := t.value(o.Ref); v != (value{}) {
				answer = v
			}
		case "refuse":
			t.result.settle(nil, "refused")
			return
		}
	}
	m.resolve(t.v, t.result, answer)
}

// resolve has a vat settle a promise, or follow another one.
func (m *model) resolve(v *modelVat, p *promise, with value) {
	switch {
	case with.promise == nil:
		p.settle(with.object, "")
	case with.promise.end() == p:
		m.circle = true
		p.settle(nil, "circle")
	default:
		p.follows = with.promise
		v.following = append(v.following, p)
	}
}

// replay runs what the vats have logged since the last time, and then gives up the messages that were refused. It returns
// an error if that is nothing that may happen, or if something that has to happen is missing. The system is at rest.
func (m *model) replay(logs map[string][]string) error {
	logged := map[int]bool{} // acts
	for _, v := range sortedKeys(logs) {
		m.vats[v].log = logs[v]
		for _, line := range logs[v] {
			var id int
			if _, err := fmt.Sscanf(line, "act %d ", &id); err == nil {
				if logged[id] {
					return fmt.Errorf("message %d was delivered twice", id)
				}
				logged[id] = true
			}
		}
	}
	for progress := true; progress; {
		progress = false
		for _, name := range sortedKeys(m.vats) {
			for v := m.vats[name]; len(v.log) > 0; v.log = v.log[1:] {
				done, err := m.replayLine(v, v.log[0])
				if err != nil {
					return fmt.Errorf("vat %s: %s: %w", name, v.log[0], err)
				}
				if !done {
					break
				}
				progress = true
			}
		}
		for _, id := range slices.Sorted(maps.Keys(m.msgs)) {
			if msg := m.msgs[id]; !msg.over && !logged[id] && m.giveUp(msg) {
				progress = true
			}
		}
	}
	for _, name := range sortedKeys(m.vats) {
		if log := m.vats[name].log; len(log) > 0 {
			return fmt.Errorf("vat %s: %s: it cannot have happened yet", name, log[0])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.msgs)) {
		if msg := m.msgs[id]; !msg.over && !msg.waits() {
			return fmt.Errorf("message %d was lost", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(m.heard)) {
		switch w := m.heard[id]; {
		case !w.over && w.self.isGone():
			w.over = true
		case !w.over && w.on.end().settled:
			return fmt.Errorf("continuation %d was not called", id)
		}
	}
	maps.DeleteFunc(m.msgs, func(_ int, msg *message) bool { return msg.over })
	maps.DeleteFunc(m.heard, func(_ int, w *watch) bool { return w.over })
	return nil
}

// replayLine runs one line of a vat's log, or returns that it is not its time yet.
func (m *model) replayLine(v *modelVat, line string) (done bool, err error) {
	words := strings.SplitN(line, " ", 4)
	var id int
	if _, err := fmt.Sscan(words[1], &id); err != nil {
		return false, err
	}
	if words[0] == "heard" {
		w := m.heard[id]
		if w == nil || !w.on.end().settled {
			return false, nil
		}
		p, want := w.on.end(), "nothing"
		switch {
		case p.reason != "":
			want = p.reason
		case p.object != nil:
			want = "object"
			w.self.held[w.key] = p.object
		}
		if w.over || w.self.vat != v || w.self.name != words[2] || words[3] != want {
			return false, fmt.Errorf("want %s by %s, once", want, w.self)
		}
		w.over = true
		return true, nil
	}
	msg := m.msgs[id]
	if msg == nil || msg.over {
		return false, nil
	}
	to, ok := msg.targetObject()
	if !ok || msg.late.promise != nil && !msg.late.promise.end().settled {
		return false, nil
	}
	if to == nil || to.vat != v || to.name != words[2] || to.deleted || msg.late.promise != nil && msg.late.promise.end().reason != "" {
		return false, fmt.Errorf("want it to be for %v", to)
	}
	for _, other := range m.msgs {
		if !other.over && other.order < msg.order && other.sender == msg.sender && other.target == msg.target && other.late.promise == nil && msg.late.promise == nil {
			return false, fmt.Errorf("it was sent after message %d", other.id)
		}
	}
	m.run(&turnOf{message: msg, v: v, self: to})
	return true, nil
}

// targetObject returns the object that the message goes to, nil if that is none; known is false if the promise is open.
func (msg *message) targetObject() (o *entity, known bool) {
	if msg.target.promise == nil {
		return msg.target.object, true
	}
	p := msg.target.promise.end()
	return p.object, p.settled
}

// waits reports whether the message waits for a promise.
func (msg *message) waits() bool {
	_, known := msg.targetObject()
	return !known || msg.late.promise != nil && !msg.late.promise.end().settled
}

// giveUp settles the result of a message that was not delivered, if that is how it must be.
func (m *model) giveUp(msg *message) bool {
	to, known := msg.targetObject()
	why := ""
	switch {
	case !known:
	case to == nil && msg.target.promise.end().reason != "":
		why = msg.target.promise.end().reason
	case to == nil:
		why = "no target"
	case to.isGone():
		why = "gone"
	case msg.late.promise != nil:
		why = msg.late.promise.end().reason
	}
	if why != "" {
		msg.over = true
		msg.result.settle(nil, why)
	}
	return why != ""
}

// restart takes a vat's memory away.
func (m *model) restart(name string) {
	m.forget(m.vats[name], "restarted")
}

func (m *model) forget(v *modelVat, why string) {
	for key, p := range v.open { // in any order
		p.settle(nil, why)
		delete(v.open, key)
	}
}

// terminate ends a vat. All is at rest.
func (m *model) terminate(name string) {
	v := m.vats[name]
	m.forget(v, "gone")
	v.dead = true
	for _, p := range v.following {
		if !p.end().settled {
			p.follows = nil
			p.settle(nil, "gone")
		}
	}
}

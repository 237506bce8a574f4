package model_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/vat"
)

// An op is one instruction of the message act. What it does follows from the object that runs it and from the message, and
// an operand that is not there makes it do nothing: so the model does the same. Operands are named by text, see [actor.ref]
// and [actor.promise].
type op struct {
	// Do is one of
	//
	//	put      keeps Ref under Key
	//	drop     forgets what is kept under Key
	//	new      makes a thing, which is called ID, and keeps it under Key
	//	churn    makes many things, and keeps none
	//	delete   deletes the thing Ref, if it is of this vat; a thing that deletes itself does nothing more
	//	send     sends act with the name ID, Ops, Args, Proms and Late to the object Ref, or to the promise Ref
	//	when     has the outcome of the promise Ref kept under Key, by a continuation that is called ID
	//	promise  makes a promise of this vat's memory, and keeps it under Key; a continuation as of when is called ID
	//	settle   fulfils the promise Key with the object Ref, or has it follow the promise Ref
	//	ring     makes promises, settles each with a record that has the next one, and sends one of them to the object Ref
	//	reject   rejects the promise Key; all of the vat, if Key is empty
	//	answer   has Ref be the answer, an object or a promise
	//	refuse   has an error be the answer
	Do    string
	Key   string
	Ref   string
	ID    int
	Ops   []op
	Args  []string
	Proms []string
	// Late is an object, or a promise for which the call waits before it begins; or empty.
	Late string
}

// actor is the root of each vat.
type actor struct {
	vat.Durable
	Fields map[string]vat.Ref
	Rows   vat.Map[string, vat.Ref]
	// Log has a line for each act and each continuation since it was asked for last.
	Log []string

	resolvers map[string]vat.Resolver `vat:"-"`
	promises  map[string]vat.Promise  `vat:"-"`
}

// thing is an object beside the root.
type thing struct {
	vat.Durable
	Actor  *actor
	ID     int
	Fields map[string]vat.Ref
	Rows   vat.Map[string, vat.Ref]
}

// object is an actor or a thing.
type object interface {
	name() string
	slots() (map[string]vat.Ref, *vat.Map[string, vat.Ref])
}

func (a *actor) name() string { return "root" }
func (t *thing) name() string { return fmt.Sprint("t", t.ID) }

func (a *actor) slots() (map[string]vat.Ref, *vat.Map[string, vat.Ref]) {
	if a.Fields == nil {
		a.Fields = map[string]vat.Ref{}
	}
	return a.Fields, &a.Rows
}

func (t *thing) slots() (map[string]vat.Ref, *vat.Map[string, vat.Ref]) {
	if t.Fields == nil {
		t.Fields = map[string]vat.Ref{}
	}
	return t.Fields, &t.Rows
}

// modules is the module of all vats.
func modules() vat.Modules {
	return vat.Modules{"actor": vat.Module(func() *actor { return &actor{} }, (*thing)(nil))}
}

// Bootstrap keeps all vats, a under fa.
func (a *actor) Bootstrap(vats map[string]vat.Ref) {
	fields, _ := a.slots()
	for name, r := range vats {
		fields["f"+name] = r
	}
}

// Act runs instructions.
func (a *actor) Act(ctx context.Context, id int, ops []op, args []vat.Ref, proms []vat.Promise, late vat.Ref) (any, error) {
	return a.act(ctx, a, id, ops, args, proms, late)
}

// Act runs instructions.
func (t *thing) Act(ctx context.Context, id int, ops []op, args []vat.Ref, proms []vat.Promise, late vat.Ref) (any, error) {
	return t.Actor.act(ctx, t, id, ops, args, proms, late)
}

// turn is a run of act.
type turn struct {
	self  object
	args  []vat.Ref
	proms []vat.Promise
	late  vat.Ref
	last  []vat.Promise // the answer of the message sent last, if there is one
}

func (a *actor) act(ctx context.Context, self object, id int, ops []op, args []vat.Ref, proms []vat.Promise, late vat.Ref) (answer any, err error) {
	a.Log = append(a.Log, fmt.Sprint("act ", id, " ", self.name()))
	if a.resolvers == nil {
		a.resolvers, a.promises = map[string]vat.Resolver{}, map[string]vat.Promise{}
	}
	t := &turn{self: self, args: args, proms: proms, late: late}
	for _, o := range ops {
		switch o.Do {
		case "put":
			if r, ok := a.ref(ctx, t, o.Ref); ok {
				err = errors.Join(err, keep(ctx, self, o.Key, r))
			}
		case "drop":
			fields, rows := self.slots()
			delete(fields, o.Key)
			rows.Delete(ctx, o.Key)
		case "new":
			err = errors.Join(err, keep(ctx, self, o.Key, vat.RefOf(ctx, &thing{Actor: a, ID: o.ID})))
		case "delete":
			r, _ := a.ref(ctx, t, o.Ref)
			if it, ok := vat.Local[*thing](ctx, r); ok {
				err = errors.Join(err, vat.Delete(ctx, it))
				if object(it) == self {
					return answer, err
				}
			}
		case "churn":
			for range churned {
				_, rows := self.slots()
				err = errors.Join(err, rows.Set(ctx, "x", vat.RefOf(ctx, &thing{Actor: a})))
				rows.Delete(ctx, "x")
			}
		case "send":
			a.send(ctx, t, o)
		case "when":
			if p, ok := a.promise(t, o.Ref); ok {
				vat.When(ctx, p, self, "Heard", o.ID, o.Key)
			}
		case "promise":
			if _, ok := a.resolvers[o.Key]; !ok {
				a.promises[o.Key], a.resolvers[o.Key] = vat.NewPromise(ctx)
				vat.When(ctx, a.promises[o.Key], self, "Heard", o.ID, o.Key)
			}
		case "settle":
			resolver, ok := a.resolvers[o.Key]
			if !ok {
				continue
			}
			if p, ok := a.promise(t, o.Ref); ok {
				resolver.Resolve(ctx, p)
				a.forget(o.Key)
			} else if r, ok := a.ref(ctx, t, o.Ref); ok {
				resolver.Resolve(ctx, r)
				a.forget(o.Key)
			}
		case "ring":
			if r, ok := a.ref(ctx, t, o.Ref); ok {
				vat.Send(ctx, r, "act", o.ID, []op{}, []vat.Ref{}, []vat.Promise{ring(ctx, 1+o.ID%3)}, vat.Ref{})
			}
		case "reject":
			for _, key := range sortedKeys(a.resolvers) {
				if o.Key == "" || o.Key == key {
					a.resolvers[key].Reject(ctx, errRefused)
					a.forget(key)
				}
			}
		case "answer":
			if p, ok := a.promise(t, o.Ref); ok {
				answer = p
			} else if r, ok := a.ref(ctx, t, o.Ref); ok {
				answer = r
			}
		case "refuse":
			return nil, errors.Join(err, errRefused)
		}
	}
	return answer, err
}

// link is a value that leads to a promise.
type link struct{ Next vat.Promise }

// ring settles n promises with each other.
func ring(ctx context.Context, n int) vat.Promise {
	promises, resolvers := make([]vat.Promise, n), make([]vat.Resolver, n)
	for i := range promises {
		promises[i], resolvers[i] = vat.NewPromise(ctx)
	}
	for i, r := range resolvers {
		r.Resolve(ctx, link{promises[(i+1)%n]})
	}
	return promises[0]
}

// churned is how many things are enough for a vat of this test to look for circles.
const churned = 60

var errRefused = errors.New("refused")

func (a *actor) forget(key string) {
	delete(a.resolvers, key)
	delete(a.promises, key)
}

// keep keeps a reference under a key, which begins with f for a field and m for an entry of the Map.
func keep(ctx context.Context, self object, key string, r vat.Ref) error {
	fields, rows := self.slots()
	if key[0] == 'f' {
		fields[key] = r
		return nil
	}
	return rows.Set(ctx, key, r)
}

// ref returns the object that an operand names: self, root, late, a0 and a1 for arguments, or a key.
func (a *actor) ref(ctx context.Context, t *turn, name string) (r vat.Ref, ok bool) {
	switch name {
	case "":
		return r, false
	case "self":
		return vat.RefOf(ctx, t.self), true
	case "root":
		return vat.RefOf(ctx, a), true
	case "late":
		return t.late, !t.late.IsZero()
	case "a0", "a1":
		if i := int(name[1] - '0'); i < len(t.args) {
			return t.args[i], true
		}
		return r, false
	}
	fields, rows := t.self.slots()
	if r, ok = fields[name]; ok {
		return r, ok
	}
	return rows.Get(ctx, name)
}

// promise returns the promise that an operand names: p0 and p1 for arguments, last for the answer of the last message, or
// open with a key.
func (a *actor) promise(t *turn, name string) (p vat.Promise, ok bool) {
	switch key, isOpen := strings.CutPrefix(name, "open "); {
	case isOpen:
		p, ok = a.promises[key]
		return p, ok
	case name == "last" && len(t.last) > 0:
		return t.last[0], true
	case (name == "p0" || name == "p1") && int(name[1]-'0') < len(t.proms):
		return t.proms[name[1]-'0'], true
	}
	return p, false
}

func (a *actor) send(ctx context.Context, t *turn, o op) {
	var target, late any = nil, vat.Ref{}
	if p, ok := a.promise(t, o.Ref); ok {
		target = p
	} else if r, ok := a.ref(ctx, t, o.Ref); ok {
		target = r
	} else {
		return
	}
	if p, ok := a.promise(t, o.Late); ok {
		late = p
	} else if r, ok := a.ref(ctx, t, o.Late); ok {
		late = r
	}
	args, proms := []vat.Ref{}, []vat.Promise{}
	for _, name := range o.Args {
		if r, ok := a.ref(ctx, t, name); ok {
			args = append(args, r)
		}
	}
	for _, name := range o.Proms {
		if p, ok := a.promise(t, name); ok {
			proms = append(proms, p)
		}
	}
	t.last = []vat.Promise{vat.Send(ctx, target, "act", o.ID, o.Ops, args, proms, late)}
}

// Heard keeps the outcome of a promise.
func (a *actor) Heard(ctx context.Context, o vat.Outcome[vat.Ref], id int, key string) error {
	return a.heard(ctx, a, o, id, key)
}

// Heard keeps the outcome of a promise.
func (t *thing) Heard(ctx context.Context, o vat.Outcome[vat.Ref], id int, key string) error {
	return t.Actor.heard(ctx, t, o, id, key)
}

func (a *actor) heard(ctx context.Context, self object, o vat.Outcome[vat.Ref], id int, key string) error {
	r, err := o.Get()
	what := "nothing"
	switch {
	case err != nil:
		what = told(err)
	case !r.IsZero():
		what = "object"
		err = keep(ctx, self, key, r)
	}
	a.Log = append(a.Log, fmt.Sprint("heard ", id, " ", self.name(), " ", what))
	if what == "object" {
		return err
	}
	return nil
}

// told names the reason of a rejection, as the model does.
func told(err error) string {
	switch {
	case errors.Is(err, vat.ErrObjectDeleted), errors.Is(err, vat.ErrVatTerminated):
		return "gone" // which of the two depends on the moment
	case errors.Is(err, vat.ErrVatRestarted):
		return "restarted"
	case errors.Is(err, vat.ErrBadTarget):
		return "no target"
	}
	return err.Error()
}

// Drain returns the log, and begins another one.
func (a *actor) Drain() []string {
	log := a.Log
	a.Log = nil
	return log
}

// Look follows a path of keys and has the last object say what it keeps.
func (a *actor) Look(ctx context.Context, path []string) (any, error) { return look(ctx, a, path) }

// Look follows a path of keys and has the last object say what it keeps.
func (t *thing) Look(ctx context.Context, path []string) (any, error) { return look(ctx, t, path) }

func look(ctx context.Context, self object, path []string) (any, error) {
	fields, rows := self.slots()
	if len(path) > 0 {
		r, ok := fields[path[0]]
		if !ok {
			if r, ok = rows.Get(ctx, path[0]); !ok {
				return nil, fmt.Errorf("%s has no %s", self.name(), path[0])
			}
		}
		return vat.Send(ctx, r, "look", path[1:]), nil
	}
	lines := []string{vat.Name(ctx) + " " + self.name()}
	kept := map[string]vat.Ref{}
	for key, r := range rows.All(ctx) {
		kept[key] = r
	}
	for _, key := range sortedKeys(fields) {
		kept[key] = fields[key]
	}
	for _, key := range sortedKeys(kept) {
		who, err := vat.Call[string](ctx, kept[key], "who")
		if err != nil {
			who = told(err)
		}
		lines = append(lines, key+" "+who)
	}
	return lines, nil
}

// Who says which object it is.
func (a *actor) Who(ctx context.Context) string { return vat.Name(ctx) + " root" }

// Who says which object it is.
func (t *thing) Who(ctx context.Context) string { return vat.Name(ctx) + " " + t.name() }

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

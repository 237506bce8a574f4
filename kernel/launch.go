package kernel

import (
	"cmp"
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// LaunchVat is one vat of a launch.
type LaunchVat struct {
	Name string
	// Config is the stored form of its configuration; the machine keeps it and does not read it.
	Config []byte
	// MaxQueue bounds the messages in its queue, MaxRestarts the deaths in a row without progress,
	// MaxRecords its transcript.
	MaxQueue, MaxRestarts, MaxRecords uint64
	// Never says that it is not restarted, StopOnFault that a fault of its code stops it.
	Never, StopOnFault bool
}

// Launch describes a subcluster to launch. The names are distinct, and Bootstrap is one of them.
type Launch struct {
	Bootstrap string
	// Vats are launched in this order: they get their ids and roots in it, and start in it.
	Vats []LaunchVat
	// Services are what bootstrap is given beside the roots. Their names are distinct.
	Services []LaunchService
	// System names a system subcluster; empty for others.
	System string
	// By and ByCall, if not empty, are a call of a service object that waits for the launch: how it comes
	// out settles the call, in the same commit.
	By     KRef
	ByCall uint64
	// Config is kept with the subcluster; see [Machine.Reload].
	Config []byte
	// Replaces is the subcluster of which this is the reload; empty otherwise.
	Replaces SubID
	// Source and Hash tell where the configuration came from.
	Source, Hash string
}

// LaunchService is a service object that is given to a subcluster.
type LaunchService struct {
	// Name is what bootstrap gets it as.
	Name string
	// Global, if not empty, names a service of the kernel: one for all who are given it.
	Global string
	// New is, otherwise, a service object for this subcluster alone. Its full name is KIND:SUBCLUSTER:NAME.
	New NewService
}

// FullName is the name under which a service object that is not global is found.
func (ls LaunchService) FullName(s SubID) string {
	return ls.New.Kind + ":" + string(s) + ":" + ls.Name
}

// GlobalKind is the kind of the service objects that are known by their name alone.
const GlobalKind = "service"

// SubState is where a subcluster is in its life.
type SubState uint8

// The states of a subcluster, a closed set. The numbers are stored.
const (
	// SubLaunching: its vats are there, and bootstrap has not answered yet. A launch that is pending when the
	// kernel dies fails at the next start.
	SubLaunching SubState = iota
	// SubRunning: bootstrap has answered.
	SubRunning
	// SubFailed: its launch failed. Its vats are dead, and what is left of it is being removed.
	SubFailed
	// SubTerminating: it has ended. Its vats are dead, and what is left of it is being removed.
	SubTerminating
)

func (s SubState) String() string {
	if int(s) >= len(subStateNames) {
		return "unknown"
	}
	return subStateNames[s]
}

var subStateNames = [...]string{SubLaunching: "launching", SubRunning: "running", SubFailed: "failed", SubTerminating: "terminating"}

// Leaving reports whether nothing will bring the subcluster back: only its removal is left to do.
func (s SubState) Leaving() bool { return s == SubFailed || s == SubTerminating }

// Subcluster is what a subcluster is.
type Subcluster struct {
	ID   SubID
	Root KRef
	// Bootstrap is the bootstrap vat.
	Bootstrap VatID
	State     SubState
	// Why says why its launch failed, if it did.
	Why string
	// Vats are its members, in the order of their launch. While it leaves some of them may be removed already.
	Vats         []SubclusterVat
	Source, Hash string
	// Result is what bootstrap answered.
	Result Data
	// System is the name of a system subcluster; empty for others.
	System string
	// By and ByCall are the call that waits for the launch.
	By     KRef
	ByCall uint64
	// Corrupt says that the row of the subcluster cannot be read, and why. Then only ID is set.
	Corrupt error
}

// SubclusterVat is a member of a subcluster.
type SubclusterVat struct {
	Name string
	Vat  VatID
}

// Launch begins a subcluster: its vats exist, each with the order to start, and bootstrap is queued for
// its bootstrap vat. It is a pending launch until LaunchSettled: a failure removes all of it.
func (m *Machine) Launch(l Launch) (s SubID, c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	n := t.countVats() + uint64(len(l.Vats))
	if n > MaxVats {
		return "", Commit{}, refuse(capdata.CodeLimit, "%d vats, the limit is %d", n, MaxVats)
	}
	if l.System != "" {
		if b, ok := t.get(keySystem(l.System)); ok {
			return "", Commit{}, refuse(CodeConflict, "the system subcluster %s exists, as %s", l.System, b)
		}
	}
	if l.By != "" && t.call(l.By, l.ByCall) == nil {
		return "", Commit{}, refuse(CodeNotFound, "nobody waits for the launch any more")
	}
	if err := m.checkConfig(l.Config, l.Vats, l.Services); err != nil {
		return "", Commit{}, err
	}
	t.index()
	t.setUint(keyCount, n)
	s = SubID("s" + num(t.allocate("s")))
	sub := &subcluster{source: l.Source, hash: l.Hash, system: l.System, by: l.By, byCall: l.ByCall, replaces: l.Replaces}
	vats := &capdata.Record{}
	var roots []KRef
	for _, lv := range l.Vats {
		v := VatID("v" + num(t.allocate("v")))
		root := t.addVat(v, s, lv)
		vats.Fields = append(vats.Fields, capdata.Field{Name: lv.Name, Value: capdata.Remotable{Slot: len(roots), Iface: "Alleged: vatRoot"}})
		roots = append(roots, root)
		sub.members = append(sub.members, member{lv.Name, v})
		if lv.Name == l.Bootstrap {
			sub.bootstrap, sub.root = v, root
		}
	}
	if sub.root == "" {
		return "", Commit{}, refuse(CodeInvalid, "no vat is named %q, as the bootstrap vat is", l.Bootstrap)
	}
	services := &capdata.Record{}
	for _, ls := range l.Services {
		k := t.launchService(s, sub, ls)
		services.Fields = append(services.Fields, capdata.Field{Name: ls.Name, Value: capdata.Remotable{Slot: len(roots), Iface: "Alleged: kernelService"}})
		roots = append(roots, k)
	}
	if l.System != "" {
		t.set(keySystem(l.System), []byte(s))
	}
	body, err := capdata.EncodeCall("bootstrap", []any{vats, services})
	if err != nil {
		return "", Commit{}, refuse(CodeInvalid, "bootstrap message: %v", err)
	}
	result := t.newPromise("", 0)
	t.promise(result).launch = s
	t.hold(result) // the launch waits for it
	t.setConfig(s, &config{config: l.Config, system: l.System})
	t.setSub(s, sub)
	t.setUint(keyUnstarted(s), uint64(len(l.Vats)))
	t.route(message{target: sub.root, methArgs: Data{Body: body, Slots: roots}, result: result}, false)
	return s, t.done(), nil
}

// checkConfig refuses a configuration that one commit does not hold.
func (m *Machine) checkConfig(config []byte, vats []LaunchVat, services []LaunchService) error {
	size := len(config)
	for _, lv := range vats {
		size += len(lv.Config)
	}
	for _, ls := range services {
		size += len(ls.New.Config) + len(ls.New.State)
	}
	if most := m.limits.Bytes / 2; size > most {
		return refuse(capdata.CodeLimit, "a configuration that is stored in %d bytes, the limit is %d", size, most)
	}
	return nil
}

// launchService makes, or finds, a service object that a subcluster is given.
func (t *tx) launchService(s SubID, sub *subcluster, ls LaunchService) KRef {
	if ls.Global == "" {
		sub.services++
		return t.newService(ls.FullName(s), s, ls.New)
	}
	if b, ok := t.get(keyServiceName(ls.Global)); ok {
		return KRef(b)
	}
	return t.newService(ls.Global, "", NewService{Kind: GlobalKind})
}

// addVat makes a vat whose first delivery will be its start. Its root is pinned while it lives.
func (t *tx) addVat(v VatID, s SubID, lv LaunchVat) KRef {
	root := t.newObject(v, 0)
	t.addEntry(v, root, wire.RootRef)
	t.hold(root)
	row := &vatRow{name: lv.Name, sub: s, root: root, config: lv.Config}
	t.create(keyVat(v), row.encode(t.m.enc))
	u := t.runs.create(KRef(v), &run{})
	u.setPolicy(lv)
	t.push(v, u, item{kind: itemStart})
	return root
}

func (u *run) setPolicy(lv LaunchVat) {
	u.maxQueue, u.maxRestarts, u.maxRecords, u.never, u.stopOnFault = lv.MaxQueue, lv.MaxRestarts, lv.MaxRecords, lv.Never, lv.StopOnFault
}

// sub returns a subcluster, nil if there is none. Within a commit all get the same one. Who changes it calls setSub.
func (t *tx) sub(s SubID) *subcluster { return t.subs.look(t, KRef(s)) }

// setSub notes that a subcluster was made, or what sub has returned was changed.
func (t *tx) setSub(s SubID, sub *subcluster) {
	if sub.settled && !sub.apart {
		sub.apart, sub.known = true, true
		t.set(keyResult(s), t.m.enc.row(2, func() { t.m.enc.data(sub.result) }))
	}
	if t.subs.look(t, KRef(s)) == nil {
		t.subs.create(KRef(s), sub)
		return
	}
	t.subs.edit(t, KRef(s))
}

// resultOf returns what the bootstrap of a subcluster answered; the zero value if it has not.
func (t *tx) resultOf(s SubID, sub *subcluster) Data {
	if !sub.known {
		sub.result, sub.known = t.dataAt(keyResult(s)), true
	}
	return sub.result
}

func (t *tx) launching(s SubID) bool {
	sub := t.sub(s)
	return sub != nil && sub.state == SubLaunching
}

// memberStarted notes that one more vat of a subcluster has started. The row of the subcluster, in which all its vats stand,
// is read for the last one.
func (t *tx) memberStarted(s SubID) {
	n, counted := t.uintRow(keyUnstarted(s))
	if n > 1 {
		t.setUint(keyUnstarted(s), n-1)
		return
	}
	sub := t.sub(s)
	switch {
	case counted:
		t.delete(keyUnstarted(s))
	case sub.unstarted > 0:
		sub.unstarted--
		t.setSub(s, sub)
	}
	t.launched(s, sub)
}

// settleLaunch notes how bootstrap ended.
func (t *tx) settleLaunch(k KRef, p *promise) {
	s := p.launch
	p.launch = ""
	t.release(k)
	sub := t.sub(s)
	if sub == nil || sub.state != SubLaunching {
		return
	}
	if p.state == rejected || isErrorBody(p.value.Body) {
		t.failLaunch(s, "bootstrap: "+errorText(p.value.Body))
		return
	}
	t.holdData(p.value)
	t.ownBytes += len(p.value.Body) // the value is written twice
	if sub.by != "" {
		t.ownBytes += min(len(p.value.Body), maxPartBytes) // and once more for whoever waits for the launch
	}
	sub.settled, sub.result, sub.known = true, p.value, true
	t.setSub(s, sub)
	t.launched(s, sub)
}

func (t *tx) launched(s SubID, sub *subcluster) {
	if _, unstarted := t.get(keyUnstarted(s)); sub.state == SubLaunching && sub.settled && sub.unstarted == 0 && !unstarted {
		sub.state = SubRunning
		if sub.replaces != "" {
			t.deleteConfig(sub.replaces)
			sub.replaces = ""
		}
		t.answerLaunch(sub, func() Completion { return launchValue(s, sub, t.resultOf(s, sub)) })
		t.setSub(s, sub)
		t.effect(LaunchSettled{Sub: s})
	}
}

// answerLaunch settles the call that waits for a launch.
func (t *tx) answerLaunch(sub *subcluster, c func() Completion) {
	t.answerCall(sub.by, sub.byCall, c)
	sub.by, sub.byCall = "", 0
}

// answerCall settles a call of a service object, unless it is over.
func (t *tx) answerCall(by KRef, n uint64, c func() Completion) {
	if by == "" {
		return
	}
	if call := t.call(by, n); call != nil {
		t.finishCall(by, t.service(by), n, call, c())
	}
}

// launchFailure is what a call is told that waits for a launch in vain.
func launchFailure(why string) Completion {
	body, err := capdata.Encode(&capdata.Error{Name: "Error", Message: "the launch failed: " + why})
	if err != nil {
		body = capdata.KernelError(capdata.CodeLimit, "the launch failed")
	}
	return Completion{Rejected: true, Value: Data{Body: body}}
}

// launchValue is what a vat gets that launches a subcluster.
func launchValue(s SubID, sub *subcluster, answer Data) Completion {
	vats := &capdata.Record{}
	for _, m := range sub.members {
		vats.Fields = append(vats.Fields, capdata.Field{Name: m.name, Value: string(m.vat)})
	}
	record := func(result any) (string, error) {
		return capdata.Encode(&capdata.Record{Fields: []capdata.Field{
			{Name: "subcluster", Value: string(s)},
			{Name: "root", Value: capdata.Remotable{Slot: 0, Iface: rootIface}},
			{Name: "vats", Value: vats},
			{Name: "bootstrapResult", Value: result},
		}})
	}
	slots := []KRef{sub.root}
	result, slots, ok := behind(answer, slots)
	body, err := record(result)
	if !ok || err != nil {
		slots = slots[:1]
		if body, err = record(nil); err != nil {
			return Completion{Rejected: true, Value: kernelError(capdata.CodeLimit, err.Error())}
		}
	}
	return Completion{Value: Data{Body: body, Slots: slots}}
}

// maxPartBytes bounds what is repeated of a value that stands in a row already.
const maxPartBytes = 64 << 10

// behind reads a value that is to be part of another one, which has slots of its own already, and returns it with all
// slots. It is not ok if it cannot be a part: it is no value, it is too large, or it has too many slots.
func behind(d Data, slots []KRef) (v any, all []KRef, ok bool) {
	if len(d.Slots)+len(slots) > MaxSlots || len(d.Body) > maxPartBytes {
		return nil, slots, false
	}
	v, err := capdata.Decode(d.Body, len(d.Slots))
	if err != nil {
		return nil, slots, false
	}
	place := make([]int, len(d.Slots))
	for i, k := range d.Slots {
		if place[i] = slices.Index(slots, k); place[i] < 0 {
			place[i] = len(slots)
			slots = append(slots, k)
		}
	}
	return moveSlots(v, place), slots, true
}

// moveSlots gives the references in a value other places among the slots.
func moveSlots(v any, place []int) any {
	switch v := v.(type) {
	case capdata.Remotable:
		if v.Slot = place[v.Slot]; v.Slot == 0 {
			v.Iface = rootIface // a body says once what a slot is called
		}
		return v
	case capdata.Promise:
		v.Slot = place[v.Slot]
		return v
	case []any:
		for i := range v {
			v[i] = moveSlots(v[i], place)
		}
	case *capdata.Record:
		for i := range v.Fields {
			v.Fields[i].Value = moveSlots(v.Fields[i].Value, place)
		}
	case *capdata.Tagged:
		v.Payload = moveSlots(v.Payload, place)
	case *capdata.Error: // has no references
	}
	return v
}

// rootIface is what the root of a vat is called in what the kernel says of it.
const rootIface = "Alleged: vatRoot"

// errorText makes a person's text of what a promise was rejected with.
func errorText(body string) string {
	text, isError := valueText(body)
	if !isError {
		text = "rejected with " + text
	}
	return text
}

// valueText makes a person's text of a value's body: of an error its message, of anything else the body, which is not
// understood beyond that. It says whether it was an error.
func valueText(body string) (text string, isError bool) {
	const most = 2000
	text = strings.TrimPrefix(body, "#") // which marks smallcaps
	if v, err := capdata.Decode(body, MaxSlots); err == nil {
		if e, ok := v.(*capdata.Error); ok {
			text, isError = e.Message, true
		}
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.ToValidUTF8(text, "?"), isError
}

// FailLaunch ends a pending launch: its time is over, or the kernel died before it settled.
func (m *Machine) FailLaunch(s SubID, why string) (c Commit, err error) {
	return m.endLaunch(s, why, true)
}

// InterruptLaunch is FailLaunch for a launch whose kernel died: a call that waits for it is not settled, and
// may begin it anew.
func (m *Machine) InterruptLaunch(s SubID, why string) (c Commit, err error) {
	return m.endLaunch(s, why, false)
}

func (m *Machine) endLaunch(s SubID, why string, answer bool) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if !t.launching(s) {
		return Commit{}, nil
	}
	if !answer {
		sub := t.sub(s)
		sub.by, sub.byCall = "", 0
		t.setSub(s, sub)
	}
	t.failLaunch(s, why)
	return t.done(), nil
}

func (t *tx) failLaunch(s SubID, why string) {
	sub := t.sub(s)
	sub.state, sub.why = SubFailed, why
	if sub.replaces == "" { // else dropReload tells, if it comes to that
		t.answerLaunch(sub, func() Completion { return launchFailure(why) })
	}
	t.setSub(s, sub)
	t.leave(s, sub)
	t.effect(LaunchSettled{Sub: s, Failure: why})
	// The vats end with this commit, not within it: one of them may be in the middle of its crank.
	t.failed = append(t.failed, s)
}

// endFailed ends the vats of the launches that failed in this commit.
func (t *tx) endFailed() {
	for _, s := range t.failed {
		t.killMembers(t.sub(s), "its launch failed")
	}
}

// Subcluster tells what a subcluster is; found is false if there is none of that id.
func (m *Machine) Subcluster(s SubID) (out Subcluster, found bool, err error) {
	defer caught(&err)
	t := m.begin(0)
	sub := t.sub(s)
	if sub == nil {
		return Subcluster{}, false, nil
	}
	return t.export(s, sub), true, nil
}

func (t *tx) export(s SubID, sub *subcluster) Subcluster {
	out := Subcluster{
		ID: s, Root: sub.root, Bootstrap: sub.bootstrap, System: sub.system, By: sub.by, ByCall: sub.byCall, Source: sub.source, Hash: sub.hash, Result: t.resultOf(s, sub),
		State: sub.state, Why: sub.why,
	}
	for _, m := range sub.members {
		out.Vats = append(out.Vats, SubclusterVat{m.name, m.vat})
	}
	return out
}

// Subclusters lists all subclusters, in the order of their launch; those too of which the row cannot be read.
func (m *Machine) Subclusters() (out []Subcluster, err error) {
	defer caught(&err)
	t := m.begin(0)
	for after := ""; ; {
		key, b := t.next("u.", after)
		if key == "" {
			slices.SortFunc(out, func(a, b Subcluster) int { return cmp.Compare(numberIn(string(a.ID[1:])), numberIn(string(b.ID[1:]))) })
			return out, nil
		}
		after = key
		out = append(out, t.listedSub(SubID(key[len("u."):]), b))
	}
}

// listedSub is a subcluster in a list.
func (t *tx) listedSub(s SubID, b []byte) Subcluster {
	var out Subcluster
	if err := readable(func() {
		var sub subcluster
		sub.decode(t.m.dec, keySub(s), b)
		out = t.export(s, &sub)
	}); err != nil {
		return Subcluster{ID: s, Corrupt: err}
	}
	return out
}

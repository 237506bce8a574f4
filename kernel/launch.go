package kernel

import (
	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
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
	// ReapInterval is the number of deliveries after which it is asked for references that it no longer holds; 0 is
	// 1000. NoRounds says that it is asked only by [Machine.Collect] with always.
	ReapInterval uint64
	NoRounds     bool
}

// Launch describes a subcluster to launch. The names are distinct, and Bootstrap is one of them.
type Launch struct {
	Bootstrap string
	// Vats are launched in this order: they get their ids and roots, and start, in it.
	Vats []LaunchVat
	// Services are the services that bootstrap gets beside the roots. Their names are distinct.
	Services []LaunchService
	// System names a system subcluster; empty for others.
	System string
	// By, if not zero, is the call of a service object that waits for the launch: the outcome of the launch settles the
	// call, in the same commit.
	By CallID
	// Config is kept with the subcluster; see [Machine.Reload].
	Config []byte
	// Replaces is the subcluster that this launch replaces, if it is a reload; empty otherwise.
	Replaces SubID
	// Source and Hash tell where the configuration came from.
	Source, Hash string
}

// LaunchService is a service object that is given to a subcluster.
type LaunchService struct {
	// Name is the name of the service for bootstrap.
	Name string
	// Global, if not empty, names a service of the kernel, which many subclusters may share.
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

// Launch creates a subcluster: its vats exist, each with the order to start, and bootstrap is queued for its bootstrap
// vat. It is a pending launch until LaunchSettled: a failure removes all of it.
func (m *Machine) Launch(l Launch) (s SubID, c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	n := t.countVats() + uint64(len(l.Vats))
	if n > maxVats {
		return "", Commit{}, refuse(errcode.Limit, "%d vats, the limit is %d", n, maxVats)
	}
	if l.System != "" {
		b, ok := t.get(keySystem(l.System))
		if _, isID := ParseSubID(string(b)); ok && isID { // a row that names no subcluster is damaged, and is replaced
			return "", Commit{}, refuse(errcode.Conflict, "the system subcluster %s exists, as %s", l.System, b)
		}
	}
	if l.By != (CallID{}) && t.call(l.By) == nil {
		return "", Commit{}, refuse(errcode.NotFound, "nobody waits for the launch any more")
	}
	if err := m.checkConfig(l.Config, l.Vats, l.Services); err != nil {
		return "", Commit{}, err
	}
	t.index()
	t.setUint(keyCount, n)
	s = SubID("s" + num(t.allocate("s")))
	sub := &subcluster{id: s, source: l.Source, hash: l.Hash, system: l.System, by: l.By, replaces: l.Replaces}
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
		return "", Commit{}, refuse(errcode.Invalid, "no vat is named %q, as the bootstrap vat is", l.Bootstrap)
	}
	services := &capdata.Record{}
	for _, ls := range l.Services {
		k := t.launchService(sub, ls)
		services.Fields = append(services.Fields, capdata.Field{Name: ls.Name, Value: capdata.Remotable{Slot: len(roots), Iface: "Alleged: kernelService"}})
		roots = append(roots, k)
	}
	if l.System != "" {
		t.set(keySystem(l.System), []byte(s))
	}
	body, err := capdata.EncodeCall("bootstrap", []any{vats, services})
	if err != nil {
		return "", Commit{}, refuse(errcode.Invalid, "bootstrap message: %v", err)
	}
	result := t.newPromise("", 0)
	t.promise(result).launch = s
	t.hold(result) // the launch waits for it
	t.setConfig(s, &config{config: l.Config, system: l.System})
	t.setSub(sub)
	t.setUint(keyUnstarted(s), uint64(len(l.Vats)))
	t.route(message{target: sub.root, methArgs: Data{Body: body, Slots: roots}, result: result}, false)
	return s, m.done(t), nil
}

// checkConfig refuses a configuration that is too large for one commit.
func (m *Machine) checkConfig(config []byte, vats []LaunchVat, services []LaunchService) error {
	size := len(config)
	for _, lv := range vats {
		size += len(lv.Config)
	}
	for _, ls := range services {
		size += len(ls.New.Config) + len(ls.New.State)
	}
	if most := m.limits.Bytes / 2; size > most {
		return refuse(errcode.Limit, "a configuration that is stored in %d bytes, the limit is %d", size, most)
	}
	return nil
}

// launchService makes, or finds, a service object that a subcluster is given.
func (t *tx) launchService(sub *subcluster, ls LaunchService) KRef {
	if ls.Global == "" {
		sub.services++
		return t.newService(ls.FullName(sub.id), sub.id, ls.New)
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
	t.create(keyVat(v), t.codec.encode(row.fields))
	u := t.runs.create(v, &run{id: v})
	u.setPolicy(lv)
	t.push(u, item{kind: itemStart})
	return root
}

func (u *run) setPolicy(lv LaunchVat) {
	u.policy = policy{
		maxQueue: lv.MaxQueue, maxRestarts: lv.MaxRestarts, maxRecords: lv.MaxRecords,
		never: lv.Never, stopOnFault: lv.StopOnFault, reapInterval: lv.ReapInterval, noRounds: lv.NoRounds,
	}
}

// memberStarted notes that one more vat of a subcluster has started. It reads the row of the subcluster, which lists
// all its vats, only for the last one.
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
		t.setSub(sub)
	}
	t.launched(sub)
}

// settleLaunch notes how bootstrap ended.
func (t *tx) settleLaunch(p *promise) {
	s := p.launch
	p.launch = ""
	t.release(p.id)
	sub := t.sub(s)
	if sub == nil || sub.state != SubLaunching {
		return
	}
	if p.state == rejected || isErrorBody(p.value.Body) {
		t.failLaunch(s, "bootstrap: "+errorText(p.value.Body))
		return
	}
	t.holdData(p.value)
	t.own.bytes += len(p.value.Body) // the value is written twice
	if sub.by != (CallID{}) {
		t.own.bytes += min(len(p.value.Body), maxPartBytes) // and once more for the call that waits for the launch
	}
	sub.settled, sub.result, sub.known = true, p.value, true
	t.setSub(sub)
	t.launched(sub)
}

func (t *tx) launched(sub *subcluster) {
	if _, unstarted := t.get(keyUnstarted(sub.id)); sub.state == SubLaunching && sub.settled && sub.unstarted == 0 && !unstarted {
		sub.state = SubRunning
		if sub.replaces != "" {
			t.deleteConfig(sub.replaces)
			sub.replaces = ""
		}
		t.answerLaunch(sub, func() Completion { return launchValue(sub, t.resultOf(sub)) })
		t.setSub(sub)
		t.effect(LaunchSettled{Sub: sub.id})
	}
}

// FailLaunch ends a pending launch as failed, for instance because its time is over.
func (m *Machine) FailLaunch(s SubID, why string) (c Commit, err error) {
	return m.endLaunch(s, why, true)
}

// InterruptLaunch is FailLaunch for a launch whose kernel died: a call that waits for it is not settled, and may launch
// again.
func (m *Machine) InterruptLaunch(s SubID, why string) (c Commit, err error) {
	return m.endLaunch(s, why, false)
}

func (m *Machine) endLaunch(s SubID, why string, answer bool) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	if sub := t.sub(s); sub != nil && sub.guessed {
		sub.state = SubLaunching // for all that is known
	}
	if !t.launching(s) {
		return Commit{}, nil
	}
	if !answer {
		sub := t.sub(s)
		sub.by = CallID{}
		t.setSub(sub)
	}
	t.failLaunch(s, why)
	return m.done(t), nil
}

func (t *tx) failLaunch(s SubID, why string) {
	sub := t.sub(s)
	sub.state, sub.why = SubFailed, why
	if sub.replaces == "" { // else dropReload tells, if it comes to that
		t.answerLaunch(sub, func() Completion { return launchFailure(why) })
	}
	t.setSub(sub)
	t.leave(sub)
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

package kernel

// service is the row of a service object.
type service struct {
	id            KRef // in the key, not in the row
	name, kind    string
	sub           SubID // empty: it belongs to the kernel
	config, state []byte
	holds         []KRef
	// ended says that it is being removed, and cannot be reached any more. more says that an item of the kernel's work
	// will begin more calls.
	ended, more bool
	// The items of its queue lie between head and tail. calls counts the calls begun and not done, next is the number
	// of the next call.
	head, tail, calls, next uint64
	// queuedBytes is the size of the messages in its queue.
	queuedBytes uint64
	// callBytes sums the bodies of the calls begun.
	callBytes uint64
	// units counts the units that are given back, nextUnit numbers all units.
	units, nextUnit uint64
}

func (s *service) fields(c *codec) {
	id(c, &s.id)
	text(c, "name", &s.name)
	text(c, "kind", &s.kind)
	text(c, "subcluster (empty: the kernel's own)", &s.sub)
	c.bytes("configuration (bytes)", &s.config)
	c.bytes("state (bytes)", &s.state)
	list(c, "holds (list of krefs)", &s.holds)
	c.bool("ended", &s.ended)
	c.bool("more (an item of the kernel's work begins calls)", &s.more)
	c.uint("head", &s.head)
	c.uint("tail", &s.tail)
	c.uint("calls begun and not done", &s.calls)
	c.uint("number of the next call", &s.next)
	c.uint("bytes of the calls begun", &s.callBytes)
	c.uint("units that go back", &s.units)
	c.uint("number of the last unit", &s.nextUnit)
	c.later()
	c.uint("bytes of the messages that wait", &s.queuedBytes)
	c.valid(s.head <= s.tail, "impossible state")
}

// serviceCall is a call of a service object that was begun.
type serviceCall struct {
	id  CallID // in the key, not in the row
	at  int64  // when it was begun
	msg message
}

func (s *serviceCall) fields(c *codec) {
	c.time("time (ms)", &s.at)
	c.message("message", &s.msg)
}

// unit is the row of a unit of input that is given back.
type unit struct {
	class string
	value Data
}

func (u *unit) fields(c *codec) {
	text(c, "class", &u.class)
	c.data("value", &u.value)
}

// pendingReload is the row of a subcluster that is to be launched again. A row of an earlier version is empty.
type pendingReload struct {
	system, source string
	by             CallID
}

func (p *pendingReload) fields(c *codec) {
	text(c, "system name", &p.system)
	text(c, "source", &p.source)
	text(c, "service object whose call waits for the reload", &p.by.Service)
	c.uint("number of that call", &p.by.N)
}

// config is the row of a subcluster's configuration.
type config struct {
	config []byte
	system string
	// reload says that the configuration is to be launched again once the subcluster is gone; by is the call that waits
	// for that, if there is one.
	reload bool
	by     CallID
}

func (f *config) fields(c *codec) {
	c.bytes("configuration (bytes)", &f.config)
	text(c, "system name", &f.system)
	c.bool("reload", &f.reload)
	text(c, "service object whose call waits for the reload", &f.by.Service)
	c.uint("number of that call", &f.by.N)
}

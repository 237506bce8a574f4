package kernel

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// vatCall applies the syscalls of one crank, in order. Each is checked whole before it changes anything that other vats
// see. Where translation must allocate (a new export), an illegal syscall drops the whole transaction, so that nothing
// stays.
type vatCall struct {
	t *tx
	v VatID
	u *run
	// objects and promises are the highest o+N and p+N committed before this crank: new ones are above.
	objects, promises uint64
	// introduced are the names that are new in this crank: none may be used for two things.
	introduced map[wire.Ref]bool
	// made are the promises among them.
	made map[KRef]bool
	// written are the rows of the store that the crank writes, each once, in order.
	written   []string
	writtenAt map[string]bool
	exit      exitKind
	why       string // the vat's own reason to exit
	info      Data   // the same as a value, held
	// round says that the crank is a page of a round.
	round bool
}

type exitKind uint8

const (
	noExit exitKind = iota
	exitSuccess
	exitFailure
)

func (c *vatCall) apply(s wire.Syscall) error {
	t := c.t
	t.own.rows++
	switch s := s.(type) {
	case wire.Send:
		return c.send(s)
	case wire.Subscribe:
		k, err := c.awaited(s.Promise)
		if err != nil {
			return fmt.Errorf("subscribe: %w", err)
		}
		if !k.IsPromise() {
			return fmt.Errorf("subscribe: %s is no promise", s.Promise)
		}
		t.subscribe(c.v, k, s.Stored)
		return nil
	case wire.Resolve:
		return c.resolve(s)
	case wire.Exit:
		info, err := c.data(s.Info)
		if err != nil {
			return fmt.Errorf("exit: %w", err)
		}
		t.holdData(info)
		t.releaseData(c.info) // of an exit before
		c.info = info
		c.why, _ = valueText(s.Info.Body)
		c.exit = exitSuccess
		if s.Failure {
			c.exit = exitFailure
		}
		return nil
	case wire.StoreSet:
		if s.Key == "" || len(s.Key) > MaxStoreKeyBytes {
			return fmt.Errorf("store: a key of %d bytes, want 1 to %d", len(s.Key), MaxStoreKeyBytes)
		}
		t.own.bytes += len(s.Key) + len(s.Value) + 16
		value := s.Value
		if value == nil {
			value = []byte{}
		}
		c.write(s.Key, value)
		return nil
	case wire.StoreDelete:
		if s.Key == "" || len(s.Key) > MaxStoreKeyBytes {
			return fmt.Errorf("store: a key of %d bytes, want 1 to %d", len(s.Key), MaxStoreKeyBytes)
		}
		t.own.bytes += len(s.Key) + 16
		c.write(s.Key, nil)
		return nil
	case wire.Keep:
		return c.keep(s)
	case wire.Watch:
		return c.watch(s)
	case wire.DropImports:
		return c.refs("dropImports", s.Refs, false, flagSet, c.dropImport)
	case wire.RetireImportsCall:
		return c.refs("retireImports", s.Refs, false, flagClear, func(k KRef, r wire.Ref) {
			t.removeEntry(c.v, k, r, false)
		})
	case wire.RetireExportsCall:
		return c.refs("retireExports", s.Refs, true, flagClear, c.orphan)
	case wire.AbandonExports:
		return c.refs("abandonExports", s.Refs, true, flagAny, c.orphan)
	case wire.Collect:
		if c.round { // the vat has not finished
			c.u.rounds.due = true
		} else {
			c.u.rounds.drops++
		}
		return nil
	}
	panic(fmt.Sprintf("kernel: unknown syscall %T", s))
}

// write writes a row of the vat's store.
func (c *vatCall) write(key string, value []byte) {
	if !c.writtenAt[key] {
		if c.writtenAt == nil {
			c.writtenAt = make(map[string]bool, 8)
		}
		c.writtenAt[key] = true
		c.written = append(c.written, key)
	}
	c.t.set(keyStore(c.v, key), value)
}

// flagState is the state of a reference's reachable flag that a syscall requires.
type flagState uint8

const (
	flagAny flagState = iota
	flagSet
	flagClear
)

// refs checks and applies a syscall of garbage collection. Each reference must be an existing object, an export or an
// import as export says, with its reachable flag set or clear as want says.
func (c *vatCall) refs(what string, refs []wire.Ref, export bool, want flagState, do func(KRef, wire.Ref)) error {
	if len(refs) > MaxSlots {
		return fmt.Errorf("%s: %d references, the limit is %d", what, len(refs), MaxSlots)
	}
	for _, r := range refs {
		k, reachable, err := c.known(r)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", what, err)
		case k.IsPromise(), isExport(r) != export, r == wire.RootRef:
			return fmt.Errorf("%s: %s is not such a reference", what, r)
		case want == flagSet && !reachable, want == flagClear && reachable:
			return fmt.Errorf("%s: %s has its reachable flag at %t", what, r, reachable)
		}
		c.t.own.rows += 3
		do(k, r)
	}
	return nil
}

func (c *vatCall) dropImport(k KRef, r wire.Ref) {
	c.t.set(keyCListK(c.v, k), clistValue(false, r))
	c.t.unreach(k)
	c.t.forgetAgain(c.u, r)
}

// orphan takes an object from its owner.
func (c *vatCall) orphan(k KRef, r wire.Ref) { c.t.orphan(c.v, k, r) }

func (t *tx) orphan(v VatID, k KRef, r wire.Ref) {
	o := t.object(k)
	if o.reachable > 0 {
		t.countEphemeral(o, -1)
	}
	o.owner, o.inc, o.look = "", 0, notListed // an entry in a list is no news any more
	if t.objects.isGuess(k) {
		t.objects.keep(k) // the object may have other holders
	}
	t.removeEntry(v, k, r, true)
	if o.reachable == 0 {
		t.maybeFree = append(t.maybeFree, k)
	}
}

// known translates a reference that must be in the c-list, and must not have been retired by a resolve of this crank.
func (c *vatCall) known(ref wire.Ref) (k KRef, reachable bool, err error) {
	if _, err := wire.ParseRef(string(ref)); err != nil {
		return "", false, err
	}
	k, ok := c.t.kref(c.v, ref)
	if !ok || c.t.isRetiring[k] {
		return "", false, fmt.Errorf("%s is unknown", ref)
	}
	_, reachable, _ = c.t.vref(c.v, k)
	return k, reachable, nil
}

// awaited translates the promise of a subscription: a known one, or a new one of the vat. The vat is told of a new one
// if it loses the memory that was to settle it.
func (c *vatCall) awaited(ref wire.Ref) (KRef, error) {
	if parts, err := wire.ParseRef(string(ref)); err == nil && parts.Own && parts.Promise {
		if _, ok := c.t.kref(c.v, ref); !ok {
			return c.use(ref)
		}
	}
	k, _, err := c.known(ref)
	return k, err
}

// use translates a reference in a message or value: known, or a new export or promise of the vat.
func (c *vatCall) use(ref wire.Ref) (KRef, error) {
	t := c.t
	parts, err := wire.ParseRef(string(ref))
	if err != nil {
		return "", err
	}
	if k, ok := t.kref(c.v, ref); ok {
		if k.IsPromise() {
			return k, nil
		}
		_, reachable, _ := t.vref(c.v, k)
		switch {
		case reachable:
		case parts.Own:
			t.setReachable(c.v, k, ref)
		default:
			return "", fmt.Errorf("%s was dropped by this vat", ref)
		}
		if parts.Own && t.owner(t.objects.look(t, k)) != c.v {
			return "", fmt.Errorf("%s belongs to an earlier incarnation", ref)
		}
		return k, nil
	}
	if !parts.Own {
		return "", fmt.Errorf("%s is unknown", ref)
	}
	t.own.rows += 4
	if parts.Promise {
		return c.newPromise(ref, parts)
	}
	inc := c.u.memory.inc
	if parts.Durable {
		inc = 0
	} else if err := c.fresh(ref, parts.Number, c.objects, &c.u.names.objects); err != nil {
		return "", err
	}
	k := t.newObject(c.v, inc)
	t.addEntry(c.v, k, ref)
	return k, nil
}

func (c *vatCall) newPromise(ref wire.Ref, parts wire.RefParts) (KRef, error) {
	if err := c.fresh(ref, parts.Number, c.promises, &c.u.names.promises); err != nil {
		return "", err
	}
	k := c.t.newPromise(c.v, c.u.memory.inc)
	c.t.addEntry(c.v, k, ref)
	if c.made == nil {
		c.made = make(map[KRef]bool, 4)
	}
	c.made[k] = true
	return k, nil
}

// fresh checks that the number of a new name is above all that were committed, and used for one thing only.
func (c *vatCall) fresh(ref wire.Ref, n, committed uint64, high *uint64) error {
	if n <= committed || c.introduced[ref] {
		return fmt.Errorf("%s is unknown, and its number was used before (the highest is %d)", ref, *high)
	}
	if c.introduced == nil {
		c.introduced = make(map[wire.Ref]bool, 4)
	}
	c.introduced[ref] = true
	*high = max(*high, n)
	return nil
}

func (c *vatCall) data(d wire.CapData) (Data, error) {
	if len(d.Slots) > MaxSlots {
		return Data{}, fmt.Errorf("%d slots, the limit is %d", len(d.Slots), MaxSlots)
	}
	out := Data{Body: d.Body}
	c.t.own.bytes += dataSize(d.Body, len(d.Slots))
	c.t.own.rows += len(d.Slots) // the count of each changes
	if len(d.Slots) > 0 {
		out.Slots = make([]KRef, len(d.Slots))
		for i, s := range d.Slots {
			k, err := c.use(s)
			if err != nil {
				return Data{}, fmt.Errorf("slot %d: %w", i, err)
			}
			out.Slots[i] = k
		}
	}
	return out, nil
}

func (c *vatCall) send(s wire.Send) error {
	t := c.t
	target, err := c.target(s.Target)
	if err != nil {
		return fmt.Errorf("send: target: %w", err)
	}
	m := message{target: target, from: c.v, inc: c.u.memory.inc}
	if m.methArgs, err = c.data(s.Message.MethArgs); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if ref := s.Message.Result; ref != "" {
		if m.result, err = c.result(ref); err != nil {
			return fmt.Errorf("send: result: %w", err)
		}
	}
	t.own.rows += 3
	// route may settle the result at once; the message must not be freed under it.
	t.holdMessage(m)
	t.route(m, true)
	t.releaseMessage(m)
	return nil
}

// target translates the target of a send: an object of the vat, which may be new, an import that it can
// reach, or a promise that it knows.
func (c *vatCall) target(ref wire.Ref) (KRef, error) {
	if parts, err := wire.ParseRef(string(ref)); err != nil || (parts.Own && !parts.Promise) {
		return c.use(ref)
	}
	k, reachable, err := c.known(ref)
	if err == nil && !k.IsPromise() && !reachable {
		err = fmt.Errorf("%s was dropped by this vat", ref)
	}
	return k, err
}

// decides reports whether the vat may settle a promise.
func (c *vatCall) decides(p *promise) bool {
	return p.state == unresolved && p.decider == c.v && !p.awaitsEnd
}

// result translates the result of a send: a new promise of the vat, or an unresolved one that it decides. The promise
// has no decider while the message is in flight.
func (c *vatCall) result(ref wire.Ref) (KRef, error) {
	t := c.t
	parts, err := wire.ParseRef(string(ref))
	if err != nil {
		return "", err
	}
	if !parts.Promise {
		return "", fmt.Errorf("%s is no promise", ref)
	}
	k, ok := t.kref(c.v, ref)
	if !ok {
		if !parts.Own {
			return "", fmt.Errorf("%s is unknown", ref)
		}
		t.own.rows += 4
		if k, err = c.newPromise(ref, parts); err != nil {
			return "", err
		}
	} else if p := t.touch(k); !c.decides(p) {
		return "", fmt.Errorf("%s is not this vat's to give away", ref)
	}
	t.clearDecider(k)
	return k, nil
}

// keep notes whether the memory or the store of the vat settles a promise.
func (c *vatCall) keep(s wire.Keep) error {
	t := c.t
	k, _, err := c.known(s.Promise)
	if err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	if !k.IsPromise() {
		return fmt.Errorf("keep: %s is no promise", s.Promise)
	}
	p := t.touch(k)
	if p.isInSteadOf(c.v) {
		return nil
	}
	if !c.decides(p) {
		return fmt.Errorf("keep: %s is not this vat's to keep", s.Promise)
	}
	inc := c.u.memory.inc
	if s.Stored {
		inc = 0
	}
	t.own.rows++
	t.clearDecider(k)
	t.setDecider(k, c.v, inc)
	return nil
}

func (c *vatCall) resolve(s wire.Resolve) error {
	t := c.t
	if len(s.Resolutions) > MaxSlots {
		return fmt.Errorf("resolve: %d resolutions, the limit is %d", len(s.Resolutions), MaxSlots)
	}
	type settlement struct {
		k      KRef
		reject bool
		value  Data
	}
	seen := make(map[KRef]bool, len(s.Resolutions))
	// All values are translated before any name is retired, since they may mention each other.
	settlements := make([]settlement, 0, len(s.Resolutions))
	for _, r := range s.Resolutions {
		k, _, err := c.known(r.Promise)
		if err != nil {
			return fmt.Errorf("resolve: %w", err)
		}
		if !k.IsPromise() {
			return fmt.Errorf("resolve: %s is no promise", r.Promise)
		}
		p := t.touch(k)
		if p.isInSteadOf(c.v) {
			t.retireLater(k)
			continue
		}
		if !c.decides(p) {
			return fmt.Errorf("resolve: %s is not this vat's to resolve", r.Promise)
		}
		if seen[k] {
			return fmt.Errorf("resolve: %s is resolved twice", r.Promise)
		}
		seen[k] = true
		value, err := c.data(r.Value)
		if err != nil {
			return fmt.Errorf("resolve: value of %s: %w", r.Promise, err)
		}
		if !r.Rejected && capdata.LoneSlot(value.Body, len(value.Slots)) && value.Slots[0].IsPromise() {
			return fmt.Errorf("resolve: %s is resolved to a promise", r.Promise)
		}
		settlements = append(settlements, settlement{k, r.Rejected, value})
	}
	// Settling the first must not free the references of a later one.
	for _, st := range settlements {
		t.hold(st.k)
		t.holdData(st.value)
	}
	for _, st := range settlements {
		t.own.rows += 3
		if c.made[st.k] {
			t.own.rows -= 5 // the rows counted for the name and for the decider: they are gone when the crank ends
		}
		t.settle(st.k, st.reject, st.value)
	}
	for _, st := range settlements {
		t.release(st.k)
		t.releaseData(st.value)
	}
	return nil
}

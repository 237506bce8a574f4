package kernel

import (
	"fmt"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// SchemaVersion is the version of the key grammar below. A store of a newer version is refused. A store of OldestSchema or a
// later version is opened, and is one of SchemaVersion from the first commit on: the commit that writes the first row that
// the older version did not know also writes the number, and a kernel of that version says that it is too old.
//
//	schema            version of this grammar
//	epoch             identity of this state; a new one starts with a reset or an accepted rollback
//	commit            number of the last commit, chained hash of all writes up to it, number of cranks
//	reset             exists while the state is being cleared
//	next.<x>          next number to hand out; x is v (vat), s (subcluster), o (object), p (promise), x (poisoned)
//	count.v           number of vats, dead ones that are being removed included
//	v.<vat>           a vat: name, subcluster, root, configuration
//	r.<vat>           how a vat runs: incarnation, queue, counters, policy, deaths
//	q.<vat>.<n>       item n of the vat's queue, head <= n < tail of r.<vat>
//	c.<vat>.<kref>    c-list: flags and vref
//	c.<vat>.<vref>    c-list: kref
//	s.<vat>.<key>     row of the vat's own store
//	o.<ko>            object: owner, incarnation, flags, reachable and recognizable counts
//	p.<kp>            promise: state, decider, count, subscribers, parked messages
//	b.<kp>            value of a settled promise
//	m.<kp>.<n>        message n parked on a promise
//	d.<vat>.<kp>      the vat, or its end, decides the promise; value: the incarnation that does
//	exit.<vat>        how a vat has ended that is being removed, if by itself: rejected (boolean), value
//	u.<sub>           subcluster: state, members, source of its configuration, result of bootstrap
//	unstarted.<sub>   number of its vats that have not started yet; absent if all have
//	left.<sub>        number of its vats that are not removed yet, of a subcluster that is being removed
//	result.<sub>      the answer of bootstrap
//	t.<ticket>        host call EPOCH.ID: hash of its content, promise, answer
//	e.<time>.<ticket> expiry index of settled host calls, time in milliseconds, 13 digits
//	expired           the row of e. that was removed last: there is none at it or before
//	x.<vat>.<n>       poisoned message
//	look.<vat>.<n>    entry n of the vat's list of objects that it may have to be told of: kref
//	again.<vat>.<o-N> exists if the vat has dropped the import, was given it again, and was not asked for it since
//	swept             exists if the objects of an earlier version are listed, or about to be: see look.go
//	y.<vat>.<span>.<n>   record n of the vat's transcript: a delivery of the span, and the frame that answered it
//	z.<vat>.<span>.<key> a row of the vat's store as it was before the span first wrote it
//	k.<ko>            service object: name, kind, configuration, state, counters of its calls
//	n.<name>          the service object of that name
//	l.<sub>.<ko>      the service object belongs to the subcluster
//	i.<ko>.<n>        item n of a service object's queue: calls that are not begun
//	a.<ko>.<n>        call n of a service object: begun, and not known to be done (the outbox)
//	f.<vat>.<kp>      the vat waits for a call of a service object, or has not been told its result
//	j.<ko>.c<class>.<n>  unit n of a channel's input, which is given back: the memory that called for it was lost
//	g.<name>          system subcluster of that name
//	h.<sub>           configuration of the subcluster, to launch it again, and whether that is under way, and for which call
//	reload.<sub>      exists if the subcluster is to be launched again: h. says so
//	work              head and tail of the kernel's own work
//	w.<n>             item of the kernel's own work, which a commit left to be done in slices
//	search            exists while the kernel's own work looks for promises that can never be settled
//	suspect.<kp>      a promise that may be one of these
//	circles           exists while the kernel's own work looks for circles of settled promises
//	circle.<kp>       a promise that may be in one
//
// Numbers are decimal. Values are msgpack arrays, see rows.go; rows of s. are the vat's bytes.
const SchemaVersion, OldestSchema = 3, 2

// The kernel's own names. They never leave this package as anything but these types, and the command
// line; a vat never sees one.
type (
	// KRef names an object (koN) or a promise (kpN) for the kernel.
	KRef string
	// VatID names a vat: vN.
	VatID string
	// SubID names a subcluster: sN.
	SubID string
)

// IsPromise reports whether k has the form of a promise's name.
func (k KRef) IsPromise() bool { return len(k) > 2 && k[1] == 'p' }

// ParseKRef checks the form of a name that came from outside.
func ParseKRef(s string) (KRef, bool) {
	if len(s) < 3 || len(s) > 18 || s[0] != 'k' || (s[1] != 'o' && s[1] != 'p') {
		return "", false
	}
	return KRef(s), decimal(s[2:])
}

// ParseVatID checks the form of a vat's id that came from outside.
func ParseVatID(s string) (VatID, bool) {
	return VatID(s), len(s) >= 2 && len(s) <= 17 && s[0] == 'v' && decimal(s[1:])
}

// ParseSubID checks the form of a subcluster's id that came from outside.
func ParseSubID(s string) (SubID, bool) {
	return SubID(s), len(s) >= 2 && len(s) <= 17 && s[0] == 's' && decimal(s[1:])
}

func decimal(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != "" && s[0] != '0'
}

const (
	keySchema  = "schema"
	keyEpoch   = "epoch"
	keyCommit  = "commit"
	keyWork    = "work"
	keyReset   = "reset"
	keySearch  = "search"
	keyCircles = "circles"
	keyCount   = "count.v"
	keySwept   = "swept"
	// keyExpired is the key that [Machine.Expire] has removed last.
	keyExpired = "expired"
)

const prefixSuspects, prefixCircle = "suspect.", "circle."

func num(n uint64) string { return strconv.FormatUint(n, 10) }

// numberIn reads the digits that num, or a key, has written.
func numberIn(digits string) (n uint64) {
	for _, d := range []byte(digits) {
		n = n*10 + uint64(d-'0')
	}
	return n
}

// idIn returns the id in a key that consists of a kind and an id.
func idIn(key string) string { return key[strings.IndexByte(key, '.')+1:] }

func keyNext(x string) string              { return "next." + x }
func keyVat(v VatID) string                { return "v." + string(v) }
func keyRun(v VatID) string                { return "r." + string(v) }
func keyQueue(v VatID, n uint64) string    { return "q." + string(v) + "." + num(n) }
func keyCListK(v VatID, k KRef) string     { return "c." + string(v) + "." + string(k) }
func keyCListV(v VatID, r wire.Ref) string { return "c." + string(v) + "." + string(r) }
func prefixCList(v VatID) string           { return "c." + string(v) + "." }
func keyStore(v VatID, key string) string  { return "s." + string(v) + "." + key }
func keyObject(k KRef) string              { return "o." + string(k) }
func keyPromise(k KRef) string             { return "p." + string(k) }
func keyValue(k KRef) string               { return "b." + string(k) }
func keyParked(k KRef, n uint64) string    { return "m." + string(k) + "." + num(n) }
func keyDecides(v VatID, k KRef) string    { return "d." + string(v) + "." + string(k) }
func prefixDecides(v VatID) string         { return "d." + string(v) + "." }
func keySub(s SubID) string                { return "u." + string(s) }
func keyUnstarted(s SubID) string          { return "unstarted." + string(s) }
func keyLeft(s SubID) string               { return "left." + string(s) }
func keyResult(s SubID) string             { return "result." + string(s) }
func keyTicket(id string) string           { return "t." + id }
func keyPoisoned(v VatID, n uint64) string { return "x." + string(v) + "." + num(n) }
func prefixPoisoned(v VatID) string        { return "x." + string(v) + "." }
func keyRecord(v VatID, span, n uint64) string {
	return "y." + string(v) + "." + num(span) + "." + num(n)
}
func prefixRecord(v VatID, span uint64) string { return "y." + string(v) + "." + num(span) + "." }
func prefixTranscripts(v VatID) string         { return "y." + string(v) + "." }
func prefixAllFormers(v VatID) string          { return "z." + string(v) + "." }
func prefixFormer(v VatID, span uint64) string { return "z." + string(v) + "." + num(span) + "." }
func keySuspect(k KRef) string                 { return prefixSuspects + string(k) }
func keyCircle(k KRef) string                  { return prefixCircle + string(k) }
func keyLook(v VatID, n uint64) string         { return "look." + string(v) + "." + num(n) }
func prefixLooks(v VatID) string               { return "look." + string(v) + "." }
func keyAgain(v VatID, r wire.Ref) string      { return "again." + string(v) + "." + string(r) }
func prefixAgain(v VatID) string               { return "again." + string(v) + "." }
func keyWorkItem(n uint64) string              { return "w." + num(n) }
func keyService(k KRef) string                 { return "k." + string(k) }
func keyServiceName(name string) string        { return "n." + name }
func keyServiceOf(s SubID, k KRef) string      { return "l." + string(s) + "." + string(k) }
func prefixServicesOf(s SubID) string          { return "l." + string(s) + "." }
func keyServiceItem(k KRef, n uint64) string   { return "i." + string(k) + "." + num(n) }
func keyServiceCall(id CallID) string          { return "a." + id.String() }
func prefixServiceCalls(k KRef) string         { return "a." + string(k) + "." }
func keyTie(v VatID, k KRef) string            { return "f." + string(v) + "." + string(k) }
func prefixTies(v VatID) string                { return "f." + string(v) + "." }
func prefixUnits(k KRef) string                { return "j." + string(k) + "." }
func keySystem(name string) string             { return "g." + name }
func keyReload(s SubID) string                 { return "reload." + string(s) }
func keyExit(v VatID) string                   { return "exit." + string(v) }
func keyConfig(s SubID) string                 { return "h." + string(s) }

// prefixClass is the prefix of the units of one class. Keys of an earlier version have a digit in place of the class.
func prefixClass(k KRef, class string) string { return fmt.Sprintf("%sc%x.", prefixUnits(k), class) }

// keyUnit has digits enough that units are found in their order.
func keyUnit(k KRef, class string, n uint64) string {
	return prefixClass(k, class) + fmt.Sprintf("%0*d", unitDigits, n)
}

const unitDigits = 20

// unitNumber returns the number of the unit that has a key.
func unitNumber(key string) uint64 { return numberIn(key[max(0, len(key)-unitDigits):]) }

func keyExpiry(when int64, ticket string) string {
	s := strconv.FormatInt(max(when, 0), 10)
	for len(s) < 13 {
		s = "0" + s
	}
	return "e." + s + "." + ticket
}

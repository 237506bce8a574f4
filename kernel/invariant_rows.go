package kernel

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The kinds of rows, by what the id behind the kind names. Rows that other checks look at one by one are of no owner here.
var (
	headKeys = strings.Fields("schema epoch commit reset count.v swept next.v next.s next.o next.p next.x work search circles expired")
	ofVats   = strings.Fields("v r q c s d x y z f exit look again")
	ofSubs   = strings.Fields("u unstarted left result h reload l")
	ofObjs   = strings.Fields("o k i a j")
	ofProms  = strings.Fields("p b m suspect circle")
	others   = strings.Fields("t e n g w")
)

// rows checks that each row is of a kind that this version knows, and has the name of something that is there (I20), and that
// no number will be handed out again (I21).
func (c *checker) rows() {
	isHead, owners := map[string]bool{}, map[string]func(id string) string{}
	for _, key := range headKeys {
		isHead[key] = true
	}
	for _, kind := range others {
		owners[kind] = func(string) string { return "" }
	}
	highest := map[string]uint64{}
	named := func(x, id string, n int) { // the name is as long as n and a number
		if number := numberIn(id[min(n, len(id)):]); number > highest[x] {
			highest[x] = number
		}
	}
	for _, kind := range ofVats {
		owners[kind] = func(id string) string {
			v, ok := ParseVatID(id)
			if !ok {
				return "is of something that is no vat"
			}
			named("v", id, 1)
			if _, ok := c.runs[v]; !ok && kind != "r" && !c.t.has(keyRun(v)) && !c.t.has(keyVat(v)) { // a row of these that cannot be read is reported
				return "is of " + id + ", which is no vat"
			}
			return ""
		}
	}
	for _, kind := range ofSubs {
		owners[kind] = func(id string) string {
			if id == "" && kind == "l" {
				return "" // the kernel's own
			}
			if _, ok := ParseSubID(id); !ok {
				return "is of something that is no subcluster"
			}
			named("s", id, 1)
			if outlives := kind == "h" || kind == "reload" || kind == "l"; !outlives && !c.t.has(keySub(SubID(id))) { // these have checks of their own
				return "is of " + id + ", which is no subcluster"
			}
			return ""
		}
	}
	for _, kind := range slices.Concat(ofObjs, ofProms) {
		owners[kind] = func(id string) string {
			k, ok := ParseKRef(id)
			if !ok {
				return "is of something that is neither an object nor a promise"
			}
			named(id[1:2], id, 2)
			if slices.Contains(ofProms, kind) != k.IsPromise() {
				return "is of " + id + ", which has no such row"
			}
			return ""
		}
	}
	for key := range c.t.all("", "") {
		if isHead[key] {
			continue
		}
		kind, rest, dotted := strings.Cut(key, ".")
		owner, known := owners[kind]
		if !known || !dotted {
			c.bad("I20: row %.100q is of no kind that a kernel of this version writes", key)
			continue
		}
		id, _, _ := strings.Cut(rest, ".")
		if what := owner(id); what != "" {
			c.bad("I20: row %.100q %s", key, what)
		}
		if kind == "x" {
			_, n, _ := strings.Cut(rest, ".")
			named("x", n, 0)
		}
	}
	for _, x := range []string{"o", "p", "s", "v", "x"} {
		if b, ok := c.t.get(keyNext(x)); ok && len(b) != 8 {
			c.unread[fmt.Sprintf("cannot be read: row %s: %v", keyNext(x), errLength)] = true
		} else if next, ok := c.t.uintRow(keyNext(x)); ok && next <= highest[x] || !ok && highest[x] > 0 {
			c.bad("I21: row %s says that the next number is %d, and %d is in use", keyNext(x), next, highest[x])
		}
	}
	for v, u := range sorted(c.runs) {
		if u.phase != dead {
			c.names(v, u)
		}
	}
	c.pastSpans()
}

// names checks that a vat's names, and the kernel's for it, are below those that are handed out next (I21). The names of durable
// objects are the vat's own affair.
func (c *checker) names(v VatID, u run) {
	most := map[string]uint64{"o-": u.names.importObjects, "p-": u.names.importPromises, "o+": u.names.objects, "p+": u.names.promises}
	c.scan(prefixCList(v), func(name string, _ []byte) {
		if len(name) < 3 || name[0] == 'k' || name[2] == 'd' {
			return
		}
		if n, err := strconv.ParseUint(name[2:], 10, 64); err != nil || n > most[name[:2]] {
			c.bad("I21: %s has the name %s, and the highest such name is %s%d", v, name, name[:2], most[name[:2]])
		}
	})
}

// pastSpans checks that the transcript of a span that is over is among the kernel's work (I14), so that it goes.
func (c *checker) pastSpans() {
	forgotten := map[string]bool{}
	c.scan("w.", func(rest string, b []byte) {
		var w work
		c.t.codec.decode("w."+rest, b, w.fields)
		if w.kind == workForget {
			forgotten[string(w.vat)+"."+num(w.span)] = true
		}
	})
	for _, prefix := range []string{"y.", "z."} {
		told := map[string]bool{}
		c.scan(prefix, func(rest string, _ []byte) {
			v, behind, _ := strings.Cut(rest, ".")
			span, _, _ := strings.Cut(behind, ".")
			u, ok := c.runs[VatID(v)]
			if id := v + "." + span; ok && u.phase != dead && span != num(u.span.number) && !forgotten[id] && !told[id] {
				told[id] = true
				c.bad("I14: there are rows %s%s, of a span that is over, and nothing will remove them", prefix, id)
			}
		})
	}
}

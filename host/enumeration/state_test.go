package enumeration_test

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/big"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/vmihailenco/msgpack/v5"

	"ocapkernel.dev/storage"
)

// state is a stored state up to names. Each row is a text with names in it: those of the kernel's objects, promises, vats
// and subclusters, and those of a vat for objects and promises. Two states are equal up to names if there is a renaming
// that makes one of the other; that is decided by the places at which a name stands, and by those of the names that stand
// beside it, and so on, as far as hops goes.
type state struct {
	rows  []row
	names []string
	known []string // what at returns for hops
}

// row is the text of a row: between texts stand names, by their index.
type row struct {
	texts []string
	names []int
}

// hops is so many that names which differ have different neighbours within it, in states of some dozen objects.
const hops = 8

// seed is that of all hashes.
var seed = maphash.MakeSeed()

// tokens finds names in the text of a row: the kernel's, and those of a vat.
var tokens = regexp.MustCompile(`\b(?:ko|kp|v|s)[1-9][0-9]*\b|\b[op][+-](?:d?[0-9]+(?:/[0-9]+)?)`)

// anyEpoch finds the epoch of a ticket.
var anyEpoch = regexp.MustCompile(`\.[a-km-z2-9]{8}\.`)

// rowNames are the names of the fields of the rows of vats, from docs/schema.md.
var rowNames = sync.OnceValue(func() []string {
	text, err := os.ReadFile("../../docs/schema.md")
	if err != nil {
		panic(err)
	}
	_, rest, _ := strings.Cut(string(text), "| `r.<vat>` | ")
	line, _, _ := strings.Cut(rest, " | ")
	names := strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ';' })
	for i, n := range names {
		names[i] = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(n), "†"))
	}
	return names
})

// uncounted are the fields of the row of a vat that number something, or count what a death adds to: lives of its memory and
// of its workers, deliveries (after a death in the middle of one, a vat goes on with less at a time), the names and the spans
// that came with them, positions of items, and moments.
var uncounted = map[string]bool{
	"incarnation": true, "last dead incarnation": true, "deaths altogether": true, "time of the first record (ms)": true,
	"head of the queue": true, "tail of the queue": true, "position of the item that attempts and kills are of": true,
	"deliveries": true, "deliveries up to the last page": true, "number of the span": true,
	"highest `o-N`": true, "highest `p-N`": true, "highest `o+N`": true, "highest `p+N`": true,
	"highest `o+N` when the span began": true, "highest `p+N` when the span began": true,
	"imports up to this `o-N` were named in a round": true,
	"head of `look.`": true, "tail of `look.`": true, "other deliveries since the last that told of `look.`": true,
	"drops and requests since the last page": true,
}

// untraced is in the row g of a vat's store: how often an object lost a reference, and not the last one, since circles were
// looked for.
var untraced = regexp.MustCompile(`,?"loose":[0-9]+`)

// canonical reads a state. epoch is a name, too.
func canonical(rows []storage.Write) *state {
	s := &state{}
	index := map[string]int{}
	epoch := "no epoch"
	for _, w := range rows {
		if w.Key == "epoch" {
			epoch = strings.Trim(texts(w.Value), `"[]`)
		}
	}
	for _, w := range rows {
		kind, rest, _ := strings.Cut(w.Key, ".")
		key, value := w.Key, texts(w.Value)
		scope := ""
		switch kind {
		case "commit", "next", "expired":
			continue // they count commits, names and time
		case "work":
			if list, ok := fields(w.Value); ok && len(list) == 2 && words(list[0]) == words(list[1]) {
				continue // the positions count what was done
			}
		case "epoch":
			value = "an epoch"
		case "r":
			value = named(w.Value, rowNames(), uncounted)
		case "t":
			value = masked(w.Value, 1, 3) // the hash of the target's name, and the time
		case "e":
			key = "e.time." + rest[min(14, len(rest)):]
		case "y":
			value = record(w.Value)
		case "x":
			value = masked(w.Value, 5, 7) // the incarnation of the sender, and the time
		}
		if kind == "s" && strings.HasSuffix(key, ".g") {
			value = fmt.Sprintf("%q", untraced.ReplaceAll(w.Value, nil))
		}
		switch kind {
		case "c", "s", "y", "z", "again":
			scope, _, _ = strings.Cut(rest, ".")
		}
		if kind == "t" || kind == "e" {
			key = anyEpoch.ReplaceAllStringFunc(key, func(name string) string {
				if name == "."+epoch+"." {
					return ".EPOCH."
				}
				return ".FORMER EPOCH."
			})
		}
		text := key + " = " + value
		r := row{}
		for {
			at := tokens.FindStringIndex(text)
			if at == nil {
				break
			}
			name := text[at[0]:at[1]]
			if name[1] == '+' || name[1] == '-' {
				name = scope + "|" + name
			}
			i, ok := index[name]
			if !ok {
				i = len(s.names)
				index[name] = i
				s.names = append(s.names, name)
			}
			r.texts, r.names = append(r.texts, text[:at[0]]), append(r.names, i)
			text = text[at[1]:]
		}
		r.texts = append(r.texts, text)
		s.rows = append(s.rows, r)
	}
	return s
}

// kind is what can be said of a name without its neighbours.
func kindOf(name string) string {
	_, ref, found := strings.Cut(name, "|")
	if !found {
		return strings.TrimRight(name, "0123456789")
	}
	if strings.HasPrefix(ref, "o+0") {
		return ref
	}
	return ref[:2]
}

// at returns the rows with each name replaced by what is known of it after so many hops, sorted, and beside each the row as
// it stands.
func (s *state) at(n int) []string {
	colours := make([]string, len(s.names))
	for i, name := range s.names {
		colours[i] = kindOf(name)
	}
	for range n {
		seen := make([][]string, len(s.names))
		for _, r := range s.rows {
			text := r.text(colours)
			for place, i := range r.names {
				seen[i] = append(seen[i], fmt.Sprint(place, text))
			}
		}
		next := make([]string, len(colours))
		for i, list := range seen {
			slices.Sort(list)
			var h maphash.Hash
			h.SetSeed(seed)
			for _, text := range list {
				_, _ = h.WriteString(text) // never fails
				_ = h.WriteByte('\n')
			}
			next[i] = fmt.Sprintf("%s#%x", kindOf(s.names[i]), h.Sum64())
		}
		colours = next
	}
	out := make([]string, len(s.rows))
	for i, r := range s.rows {
		out[i] = r.text(colours)
	}
	slices.Sort(out)
	return out
}

func (r row) text(colours []string) string {
	var b strings.Builder
	for i, text := range r.texts {
		b.WriteString(text)
		if i < len(r.names) {
			b.WriteString("<" + colours[r.names[i]] + ">")
		}
	}
	return b.String()
}

// differs returns how a state differs from another one up to names, after as few hops as show it; empty if it does not.
func (s *state) differs(from *state) string {
	for _, one := range []*state{s, from} {
		if one.known == nil {
			one.known = one.at(hops)
		}
	}
	if slices.Equal(s.known, from.known) {
		return ""
	}
	for n := range hops + 1 {
		was, is := from.at(n), s.at(n)
		var b strings.Builder
		for _, side := range []struct {
			sign       string
			rows, rest []string
		}{{"-", was, is}, {"+", is, was}} {
			count := map[string]int{}
			for _, row := range side.rest {
				count[row]++
			}
			for _, row := range side.rows {
				if count[row]--; count[row] < 0 {
					fmt.Fprintf(&b, "%s %s\n", side.sign, row)
				}
			}
		}
		if b.Len() > 0 {
			return b.String()
		}
	}
	return "not equal"
}

// fields are the values of a row, if it is an array.
func fields(b []byte) ([]any, bool) {
	rd := bytes.NewReader(b)
	v, err := msgpack.NewDecoder(rd).DecodeInterfaceLoose()
	list, ok := v.([]any)
	return list, ok && err == nil && rd.Len() == 0
}

// texts is a row in words: what is in it, and what is in that.
func texts(b []byte) string {
	if list, ok := fields(b); ok {
		return words(list)
	}
	return fmt.Sprintf("%q", b)
}

func words(v any) string {
	switch v := v.(type) {
	case []any:
		parts := make([]string, len(v))
		for i, x := range v {
			parts[i] = words(x)
		}
		return "[" + strings.Join(parts, " ") + "]"
	case []byte:
		return texts(v)
	case string:
		return fmt.Sprintf("%q", v)
	case *big.Int:
		return v.String()
	}
	return fmt.Sprint(v)
}

func masked(b []byte, at ...int) string {
	list, ok := fields(b)
	if !ok {
		return texts(b)
	}
	for _, i := range at {
		if i < len(list) {
			list[i] = "masked"
		}
	}
	return words(list)
}

// record is a record of a transcript without what the kernel adds to each delivery: its number, the time, dice, and how often it
// has failed.
func record(b []byte) string {
	list, ok := fields(b)
	if !ok || len(list) != 3 {
		return texts(b)
	}
	down, _ := list[0].([]byte)
	up, _ := list[2].([]byte)
	return masked(down, 1, 2, 3, 4) + words(list[1]) + masked(up, 1)
}

// named is a row with the names of its fields, without those that are masked, or zero.
func named(b []byte, names []string, masked map[string]bool) string {
	list, ok := fields(b)
	if !ok || len(list) > len(names) {
		return texts(b)
	}
	var parts []string
	for i, v := range list {
		if text := words(v); !masked[names[i]] && text != "0" && text != "false" && text != `""` {
			parts = append(parts, names[i]+"="+text)
		}
	}
	return strings.Join(parts, ", ")
}

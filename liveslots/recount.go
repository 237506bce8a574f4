package liveslots

import (
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/wire"
)

// A store that was there before the vat counted is counted in slices, one in each bring out your dead. The rows are taken
// by kind, in the order of countedRows, and within a kind in the order of their keys:
//
//	stage 0 to 3   the mentions in the rows of one kind are added to the counts
//	stage 4        the store is counted; objects without mentions are found, and become candidates
//	stage 5        all is done
//
// The vat goes on meanwhile. A crank that changes a row behind the place that counting has come to counts the change; a
// row before that place is counted as it is when it is reached. So each mention is counted once.

// countedRows are the prefixes of the rows with mentions. Objects come first: they tell which Maps have keys that are
// references.
var countedRows = [...]string{"o.", "m.", "s.", "w."}

const (
	stageUnheld  = len(countedRows)
	stageCounted = stageUnheld + 1
)

// covers reports whether changes of a row have to be counted by the crank that makes them.
func (l *ledger) covers(key string) bool {
	if l.Stage >= len(countedRows) {
		return true
	}
	i := slices.IndexFunc(countedRows[:], func(prefix string) bool { return strings.HasPrefix(key, prefix) })
	return i < l.Stage || i == l.Stage && key <= l.After
}

// recount goes on with counting, as far as the crank has room.
func (c *collector) recount() {
	l := c.v.readLedger()
	for l.Stage < stageUnheld {
		c.recountRows(countedRows[l.Stage], c.countRow)
		if c.full {
			return
		}
	}
	// The journal may have mentions of objects that have none otherwise, and the kernel may know them.
	if l.Stage == stageUnheld && l.Pending == 0 && l.Exports {
		c.reviewCounts()
		c.recountRows("o.", func(key string, _ []byte) {
			if ref := wire.Ref(key[len("o."):]); isDurable(string(ref)) && c.v.readCount(ref).isGarbage() {
				c.v.rows.set(candidateKey(ref), []byte{})
			}
		})
	}
}

// reviewCounts looks at all counts, before the objects of the present stage: it deletes those of an earlier count, and finds
// deleted objects without mentions.
func (c *collector) reviewCounts() {
	v, l := c.v, c.v.readLedger()
	for l.After < "o." && c.hasRoom() {
		key, _, found := v.rows.next("c.", max("c.", l.After))
		l.changed = true
		if !found {
			l.After = "o."
			return
		}
		l.After = key
		ref := wire.Ref(key[len("c."):])
		if now := v.readCount(ref); now == (count{}) {
			v.rows.delete(key)
		} else if now.isGarbage() {
			v.rows.set(candidateKey(ref), []byte{})
		}
	}
}

// recountRows gives the rows of the present stage to do, and ends the stage after the last one.
func (c *collector) recountRows(prefix string, do func(key string, row []byte)) {
	l := c.v.readLedger()
	for c.hasRoom() {
		key, row, found := c.v.rows.next(prefix, max(prefix, l.After))
		l.changed = true
		if !found {
			l.Stage, l.After = l.Stage+1, ""
			return
		}
		do(key, row)
		l.After = key
	}
}

// countRow adds the mentions in a row to the counts.
func (c *collector) countRow(key string, row []byte) {
	v := c.v
	switch key[0] {
	case 'o':
		v.addMentions(secondLine(string(row)), +1)
		maps, _ := v.ids.mapsOf(wire.Ref(key[len("o."):]), string(row))
		for _, m := range maps {
			if m.keyed {
				v.rows.set(keyedKey(m.number), []byte{})
			}
		}
	case 'm':
		v.addMentions(v.namesOfEntry(key, row), +1)
	default:
		v.addMentions(shelfNames(key, string(row)), +1)
	}
}

// namesOfEntry returns the names in a Map's entry.
func (v *Vat) namesOfEntry(key string, row []byte) string {
	digits, name, _ := strings.Cut(key[len("m."):], ".")
	number, _ := strconv.ParseUint(digits, 10, 64)
	if _, keyed := v.rows.get(keyedKey(number)); !keyed {
		name = ""
	}
	return entryNames(name, row)
}

// A mapField is a Map in an object's row. keyed is set if its keys are references.
type mapField struct {
	number uint64
	keyed  bool
}

// mapsOf returns the Maps in an object's row, in the order of their fields. It reads the row and the shape in which it was
// written, and needs no type of the program. ok is false for a row that cannot be read.
func (i *ids) mapsOf(ref wire.Ref, row string) (list []mapField, ok bool) {
	i.load()
	kind := uint64(i.Root)
	if parts, err := wire.ParseRef(string(ref)); err == nil && parts.Durable {
		kind = parts.Number
	}
	head, slots, body, ok := cutRow(row)
	number, err := strconv.Atoi(head)
	if !ok || err != nil || kind < 1 || kind > uint64(len(i.Kinds)) || number < 0 || number >= len(i.Kinds[kind-1].Shapes) {
		return nil, false
	}
	shape := i.Kinds[kind-1].Shapes[number]
	if !hasMaps(shape) {
		return nil, true
	}
	tree, err := capdata.Decode(body, len(strings.Fields(slots)))
	r, ok := tree.(*capdata.Record)
	if err != nil || !ok {
		return nil, false
	}
	for _, f := range r.Fields {
		key, _, isMap := cutBrackets(shape[f.Name], "vat.Map[")
		n, isNumber := f.Value.(float64)
		if isMap && isNumber && n > 0 {
			list = append(list, mapField{uint64(n), key == "vat.Ref" || strings.HasPrefix(key, "*")})
		}
	}
	return list, true
}

func hasMaps(shape map[string]string) bool {
	maps := false
	for _, s := range shape {
		maps = maps || strings.HasPrefix(s, "vat.Map[")
	}
	return maps
}

package liveslots

import (
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/wire"
)

// Mentions returns which thing in a vat's store a row is a part of, and the things that the row leads to. A thing is an object or a
// promise by its name in the vat (o+0 is the root), a Map as m7, a call that waits as w7. Rows of which nothing follows have none.
// The rows of a store are to be given in the order of their keys: whether the keys of a Map are references stands before its
// entries. Of a value that was cut, the references are known, and Maps may be missing.
func (d *Describer) Mentions(key string, row []byte) (of string, names []string) {
	prefix, rest, dotted := strings.Cut(key, ".")
	if !dotted {
		return "", nil
	}
	switch prefix {
	case "k":
		d.keyed = append(d.keyed, rest)
	case "o":
		names = strings.Fields(secondLine(string(row)))
		i := ids{loaded: true, Kinds: d.kinds, Root: d.root}
		maps, _ := i.mapsOf(wire.Ref(rest), string(row))
		for _, m := range maps {
			names = append(names, mapName(m.number))
		}
		return rest, names
	case "m":
		number, name, _ := strings.Cut(rest, ".")
		if !slices.Contains(d.keyed, number) {
			name = ""
		}
		n, _ := strconv.ParseUint(number, 10, 64)
		return mapName(n), strings.Fields(entryNames(name, row))
	case "w":
		return "w" + rest, strings.Fields(shelfNames(key, string(row)))
	case "s":
		return rest, strings.Fields(shelfNames(key, string(row)))
	}
	return "", nil
}

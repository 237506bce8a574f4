package capdata

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

// Endo sorts the names of a record by UTF-16 code units, and numbers slots in that order. But then the
// names become properties of a JavaScript object, and JSON.stringify visits array indexes ("0", "17")
// first, by number, and only then the others in the order of their creation. So there are two orders:
// compareNames, in which a record is visited, and compareProperties, in which it is printed. They
// differ only for records with array indexes as names.

// sortFields puts fields in visiting order, in place, and returns the index of a field that has the name of its
// predecessor, or -1. Fields that are in order already are left as they are.
func sortFields(fields []Field) (duplicate int) {
	if !slices.IsSortedFunc(fields, byName) {
		slices.SortStableFunc(fields, byName)
	}
	for i := 1; i < len(fields); i++ {
		if byName(fields[i-1], fields[i]) == 0 {
			return i
		}
	}
	return -1
}

func byName(a, b Field) int { return compareNames(a.Name, b.Name) }

// compareNames compares by UTF-16 code units. UTF-8 sorts by code points, which is the same except
// where surrogates (U+D800 to U+DFFF, alone or as part of a pair) meet U+E000 to U+FFFF.
func compareNames(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] == b[i] {
			continue
		}
		if a[i] < 0xED || b[i] < 0xED {
			return cmp.Compare(a[i], b[i])
		}
		return slices.Compare(codeUnits(a), codeUnits(b))
	}
	return cmp.Compare(len(a), len(b))
}

// compareProperties compares as JavaScript orders the properties of an object whose other names were
// added in visiting order.
func compareProperties(a, b string) int {
	i, aIndex := arrayIndex(a)
	j, bIndex := arrayIndex(b)
	switch {
	case aIndex && bIndex:
		return cmp.Compare(i, j)
	case aIndex:
		return -1
	case bIndex:
		return 1
	}
	return compareNames(a, b)
}

// arrayIndex returns the number of a name that JavaScript calls an array index: canonical decimal, below
// 2^32-1.
func arrayIndex(s string) (n uint64, ok bool) {
	if len(s) == 0 || len(s) > 10 || (s[0] == '0' && len(s) > 1) {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint64(s[i]-'0')
	}
	return n, n < 1<<32-1
}

// codeUnits returns the UTF-16 code units of a WTF-8 string. Bytes that are not WTF-8 become U+FFFD; the
// encoder refuses such a string later.
func codeUnits(s string) []uint16 {
	u := make([]uint16, 0, len(s))
	for i := 0; i < len(s); {
		if half, ok := surrogateAt(s, i); ok {
			u = append(u, half)
			i += 3
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		i += n
		if r >= 0x10000 {
			u = append(u, uint16(0xD800+(r-0x10000)>>10), uint16(0xDC00+(r-0x10000)&0x3FF))
		} else {
			u = append(u, uint16(r))
		}
	}
	return u
}

// surrogateAt returns the surrogate whose three-byte form stands at s[i:], if there is one.
func surrogateAt(s string, i int) (half uint16, ok bool) {
	if len(s)-i < 3 || s[i] != 0xED || s[i+1]&0xE0 != 0xA0 || s[i+2]&0xC0 != 0x80 {
		return 0, false
	}
	return 0xD000 | uint16(s[i+1]&0x3F)<<6 | uint16(s[i+2]&0x3F), true
}

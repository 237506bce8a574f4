package cluster

import (
	"fmt"
	"strings"
)

// quoted lists names for a message, the first few of many.
func quoted(names []string) string {
	const most = 12
	parts := make([]string, 0, most+1)
	for i, name := range names {
		if i == most {
			parts = append(parts, fmt.Sprintf("… (%d in all)", len(names)))
			break
		}
		parts = append(parts, quote(name))
	}
	return strings.Join(parts, ", ")
}

func quote(s string) string { return fmt.Sprintf("%q", shorten(s)) }

// suggest ends a message about a name that is not among known: with the nearest known name, or else with all.
func suggest(name string, known []string) string {
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	if len(known) == 0 {
		return "there is none"
	}
	return "expected one of " + quoted(known)
}

// nearest returns the known name of which name is probably a misspelling, or "".
func nearest(name string, known []string) string {
	const longest = 128
	if len(name) > longest {
		return ""
	}
	// A third of the letters may be wrong, three at most.
	best, bound := "", min(3, max(1, len(name)/3))+1
	for _, k := range known {
		if len(k) > longest {
			continue
		}
		if d := distance(strings.ToLower(name), strings.ToLower(k)); d < bound {
			best, bound = k, d
		}
	}
	return best
}

// distance counts the bytes to insert, delete, replace or swap with the next that make a into b.
func distance(a, b string) int {
	// Three rows of the usual table: before the last, last, current.
	last2, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], last2[j-2]+1)
			}
		}
		last2, last, row = last, row, last2
	}
	return last[len(b)]
}

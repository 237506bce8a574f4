// Package machine breaks the rules of a deterministic package, and keeps some of them.
package machine

import (
	"cmp"
	_ "embed" // registers nothing
	"maps"
	"slices"
	"time" // want "may not import time"

	"planted.example/boxes" // want "machine may not import boxes, only nothing of ours"
)

type table map[string]int

// Run does what it must not.
func Run(t table, b boxes.Box) (out []string) {
	_ = time.Second
	for range t { // want "the order of a map is random"
		out = append(out, "")
	}
	for k := range maps.Keys(t) { // want "the order of maps.Keys is random"
		out = append(out, k)
	}
	out = append(out, slices.Collect(maps.Keys(t))...) // want "the order of maps.Keys is random"
	go func() {}()                                     // want "starts no goroutine"
	select {                                           // want "waits for nothing"
	default:
	}
	// This is how it is done.
	for _, k := range slices.Sorted(maps.Keys(t)) {
		out = append(out, k)
	}
	for _, k := range slices.SortedFunc(maps.Keys(t), cmp.Compare[string]) {
		out = append(out, k)
	}
	for i := range out {
		out[i] += boxes.Name(b)
	}
	return out
}

func generic[M ~map[int]int](m M) {
	for range m { // want "the order of a map is random"
		return
	}
}

var _ = generic[map[int]int]

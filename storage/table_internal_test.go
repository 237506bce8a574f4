package storage

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// A table far larger than a block, under puts, deletions and nexts in random order, keeps its order.
func TestTableOrder(t *testing.T) {
	const seed = 1
	random := rand.New(rand.NewPCG(seed, 0))
	table := NewTable[int]()
	model := map[string]int{}
	for i := range 60_000 {
		key := fmt.Sprintf("%05d", random.IntN(20_000))
		switch random.IntN(5) {
		case 0:
			table.Delete(key)
			delete(model, key)
		case 1:
			got, v, found := table.Next("", key)
			if want, ok := model[got]; found && (!ok || v != want || got <= key) {
				t.Fatalf("next of %s: got %s, %d, want %d, %t", key, got, v, want, ok)
			}
		default:
			table.Put(key, i)
			model[key] = i
		}
	}
	var got []string
	for key, _, found := table.Next("", ""); found; key, _, found = table.Next("", key) {
		got = append(got, key)
	}
	if !slices.Equal(got, table.keys()) || len(got) != len(model) {
		t.Errorf("walked %d keys of %d", len(got), len(model))
	}
	if table.listed != len(model) {
		t.Errorf("lists %d keys of %d after a walk", table.listed, len(model))
	}
	for _, block := range table.blocks {
		if len(block) == 0 || len(block) > maxBlock {
			t.Errorf("block of %d keys", len(block))
		}
	}
}

// A queue that runs for ever does not make its table grow, whether or not anybody asks for the order.
func TestTableForgetsDeadKeys(t *testing.T) {
	for _, asked := range []bool{false, true} {
		table := NewTable[int]()
		for i := range 50_000 {
			table.Put(fmt.Sprintf("%06d", i), i)
			if i >= 10 {
				table.Delete(fmt.Sprintf("%06d", i-10))
			}
			if asked {
				if _, v, _ := table.Next("", ""); v != max(0, i-9) {
					t.Fatalf("head is %d, want %d", v, i-9)
				}
			}
			if table.listed > 2*(len(table.rows)+1)+slack { // the check comes with a put
				t.Fatalf("after %d: lists %d keys for %d rows", i, table.listed, len(table.rows))
			}
		}
	}
}

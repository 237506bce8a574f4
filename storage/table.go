package storage

import (
	"maps"
	"slices"
	"sort"
	"strings"
)

// table is rows in memory: a map, and beside it their keys in order. Only next needs the order, and it
// is rare, so new keys wait in pending until next asks; keys that are gone are dropped when next meets
// them. So put, get and delete cost what a map costs.
type table[V any] struct {
	rows map[string]V
	// pending holds keys put since the last next, in no order, perhaps twice, perhaps gone.
	pending []string
	// blocks are the other keys: sorted, each block too, none empty. Some may be gone.
	blocks [][]string
	// listed counts the keys in pending and blocks.
	listed int
}

const (
	// maxBlock is where a block is cut in two: an insertion moves at most this many keys.
	maxBlock = 512
	// slack is how many dead keys a table may always list.
	slack = 1024
)

func newTable[V any]() *table[V] { return &table[V]{rows: make(map[string]V)} }

func (t *table[V]) get(key string) (V, bool) {
	v, ok := t.rows[key]
	return v, ok
}

func (t *table[V]) put(key string, v V) {
	if _, ok := t.rows[key]; !ok {
		t.pending = append(t.pending, key)
		t.listed++
	}
	t.rows[key] = v
	// A table that is never asked for an order must not remember every key that ever was.
	if t.listed > 2*len(t.rows)+slack {
		t.relist()
	}
}

func (t *table[V]) delete(key string) { delete(t.rows, key) }

// next returns the row with the smallest key that is greater than after and begins with prefix.
func (t *table[V]) next(prefix, after string) (key string, v V, found bool) {
	t.settle()
	for {
		b, i := t.search(prefix, after)
		if b == len(t.blocks) || !strings.HasPrefix(t.blocks[b][i], prefix) {
			return "", v, false
		}
		key = t.blocks[b][i]
		if v, ok := t.rows[key]; ok {
			return key, v, true
		}
		t.unlist(b, i)
	}
}

// keys returns all keys in order.
func (t *table[V]) keys() []string { return slices.Sorted(maps.Keys(t.rows)) }

// search finds the first listed key that is at least prefix and greater than after.
func (t *table[V]) search(prefix, after string) (block, index int) {
	behind := func(key string) bool { return key < prefix || key <= after }
	block = sort.Search(len(t.blocks), func(i int) bool {
		b := t.blocks[i]
		return !behind(b[len(b)-1])
	})
	if block < len(t.blocks) {
		b := t.blocks[block]
		index = sort.Search(len(b), func(i int) bool { return !behind(b[i]) })
	}
	return block, index
}

// settle moves the pending keys into the blocks.
func (t *table[V]) settle() {
	if len(t.pending) > len(t.rows)/4 {
		t.relist()
		return
	}
	for _, key := range t.pending {
		t.listed--
		if _, ok := t.rows[key]; ok {
			t.list(key)
		}
	}
	t.pending = t.pending[:0]
}

// relist makes the blocks anew from the rows.
func (t *table[V]) relist() {
	keys := t.keys()
	t.pending, t.blocks, t.listed = nil, nil, len(keys)
	for chunk := range slices.Chunk(keys, maxBlock/2) {
		t.blocks = append(t.blocks, slices.Clone(chunk))
	}
}

// list inserts key into the blocks, if it is not there.
func (t *table[V]) list(key string) {
	b, _ := slices.BinarySearchFunc(t.blocks, key, func(b []string, key string) int {
		return strings.Compare(b[len(b)-1], key)
	})
	if b == len(t.blocks) {
		if b == 0 {
			t.blocks = [][]string{{key}}
			t.listed++
			return
		}
		b--
	}
	i, found := slices.BinarySearch(t.blocks[b], key)
	if found {
		return
	}
	block := slices.Insert(t.blocks[b], i, key)
	t.blocks[b] = block
	t.listed++
	if len(block) > maxBlock {
		half := len(block) / 2
		t.blocks[b] = block[:half:half]
		t.blocks = slices.Insert(t.blocks, b+1, slices.Clone(block[half:]))
	}
}

// unlist removes the key at this place from the blocks.
func (t *table[V]) unlist(b, i int) {
	t.listed--
	t.blocks[b] = slices.Delete(t.blocks[b], i, i+1)
	if len(t.blocks[b]) == 0 {
		t.blocks = slices.Delete(t.blocks, b, b+1)
	}
}

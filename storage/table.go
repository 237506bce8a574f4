package storage

import (
	"maps"
	"slices"
	"sort"
	"strings"
)

// Table is rows in memory: a map, and beside it their keys in order. Only Next and Seek need the order, and
// they are rare: new keys wait in pending until the next call of Next or Seek, and keys of deleted rows are
// dropped when such a call meets them. So Put, Get and Delete cost as much as those of a map. A Table belongs
// to one goroutine.
type Table[V any] struct {
	rows map[string]V
	// pending holds the keys put since the last Next, in no order. A key may be there twice, or be deleted.
	pending []string
	// blocks are the other keys: sorted, each block too, none empty. Some keys may be deleted.
	blocks [][]string
	// listed counts the keys in pending and blocks.
	listed int
}

const (
	// maxBlock is the length at which a block is cut in two: an insertion moves at most this many keys.
	maxBlock = 512
	// slack is the number of deleted keys that a table may always list.
	slack = 1024
)

// NewTable returns an empty table.
func NewTable[V any]() *Table[V] { return &Table[V]{rows: make(map[string]V)} }

// Get returns the row of a key; ok is false if there is none.
func (t *Table[V]) Get(key string) (V, bool) {
	v, ok := t.rows[key]
	return v, ok
}

// Put adds or replaces a row.
func (t *Table[V]) Put(key string, v V) {
	if _, ok := t.rows[key]; !ok {
		t.pending = append(t.pending, key)
		t.listed++
	}
	t.rows[key] = v
	// A table whose order is never needed must not remember every key that ever was.
	if t.listed > 2*len(t.rows)+slack {
		t.relist()
	}
}

// Delete removes a row. It does nothing if there is no such row.
func (t *Table[V]) Delete(key string) { delete(t.rows, key) }

// Next returns the row with the smallest key that is greater than after and begins with prefix.
func (t *Table[V]) Next(prefix, after string) (key string, v V, found bool) {
	key, v, found = t.first(prefix, after)
	if !strings.HasPrefix(key, prefix) {
		var none V
		return "", none, false
	}
	return key, v, found
}

// Seek returns the row with the smallest key that is at least `least`.
func (t *Table[V]) Seek(least string) (key string, v V, found bool) { return t.first(least, "") }

// first returns the row with the smallest key that is at least `least` and greater than after.
func (t *Table[V]) first(least, after string) (key string, v V, found bool) {
	t.Settle()
	for {
		b, i := t.search(least, after)
		if b == len(t.blocks) {
			return "", v, false
		}
		key = t.blocks[b][i]
		if v, ok := t.rows[key]; ok {
			return key, v, true
		}
		t.unlist(b, i)
	}
}

// clone returns a table with the same rows. It only reads t.
func (t *Table[V]) clone() *Table[V] {
	return &Table[V]{rows: maps.Clone(t.rows), pending: slices.Collect(maps.Keys(t.rows)), listed: len(t.rows)}
}

// keys returns all keys in order.
func (t *Table[V]) keys() []string { return slices.Sorted(maps.Keys(t.rows)) }

// search returns the place of the first listed key that is at least `least` and greater than after.
func (t *Table[V]) search(least, after string) (block, index int) {
	behind := func(key string) bool { return key < least || key <= after }
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

// Settle puts the new keys in order. Next and Seek call it; a caller that puts many keys between two of their
// calls spreads the cost by calling Settle itself.
func (t *Table[V]) Settle() {
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
func (t *Table[V]) relist() {
	keys := t.keys()
	t.pending, t.blocks, t.listed = nil, nil, len(keys)
	for chunk := range slices.Chunk(keys, maxBlock/2) {
		t.blocks = append(t.blocks, slices.Clone(chunk))
	}
}

// list inserts key into the blocks, unless they have it.
func (t *Table[V]) list(key string) {
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
func (t *Table[V]) unlist(b, i int) {
	t.listed--
	t.blocks[b] = slices.Delete(t.blocks[b], i, i+1)
	if len(t.blocks[b]) == 0 {
		t.blocks = slices.Delete(t.blocks, b, b+1)
	}
}

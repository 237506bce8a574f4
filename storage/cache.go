package storage

// rowOverhead is about the memory that a row of the cache takes beside its key and value.
const rowOverhead = 96

// cache remembers rows of the store, and keys that have no row. It has two generations: when the young one has
// grown to half of the limit, it becomes the old one, and the old one is forgotten. A row that is used moves to
// the young generation, so rows in use stay.
type cache struct {
	half       int
	size       int // of young
	young, old map[string][]byte
}

func newCache(limit int) *cache {
	return &cache{half: limit / 2, young: map[string][]byte{}}
}

// get returns the cached row of key; known reports whether there is one. A nil value means that the store has
// no such row.
func (c *cache) get(key string) (value []byte, known bool) {
	if value, known = c.young[key]; known {
		return value, true
	}
	if value, known = c.old[key]; known {
		c.put(key, value)
	}
	return value, known
}

func (c *cache) put(key string, value []byte) {
	size := len(key) + len(value) + rowOverhead
	if before, known := c.young[key]; known {
		c.size -= len(key) + len(before) + rowOverhead
		if size > c.half {
			delete(c.young, key)
		}
	}
	if size > c.half {
		delete(c.old, key)
		return
	}
	if c.size+size > c.half {
		delete(c.young, key)
		c.young, c.old, c.size = make(map[string][]byte, len(c.young)), c.young, 0
	}
	c.young[key] = value
	c.size += size
}

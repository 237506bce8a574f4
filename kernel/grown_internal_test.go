package kernel

import (
	"encoding/binary"
	"slices"
	"strings"

	"ocapkernel.dev/storage"
)

// Downgrade rewrites the rows of a state as the first release wrote them, without the fields and rows that came later.
func Downgrade(mem *storage.Mem) {
	d := newDumper(mem)
	codec := d.t.codec
	writes := []storage.Write{{Key: keySchema, Value: binary.BigEndian.AppendUint64(nil, OldestSchema)}}
	// All later fields are at the end: one byte each, since they were set to zero, but for a name.
	cut := func(key string, b []byte, fields, later int) {
		b = b[:len(b)-later]
		if b[0] != 0xdc {
			b[0] = 0x90 | byte(fields)
		} else if fields < 16 {
			b = append([]byte{0x90 | byte(fields)}, b[3:]...)
		} else {
			b[2] = byte(fields)
		}
		writes = append(writes, storage.Write{Key: key, Value: b})
	}
	for _, row := range mem.Snapshot() {
		switch key := row.Key; {
		case strings.HasPrefix(key, "p."):
			var p promise
			d.t.codec.decode(key, row.Value, p.fields)
			if p.tie.unit == "" {
				p.told = nil
			}
			p.size, p.slots, p.parkedBytes, p.watcher = 0, 0, 0, ""
			cut(key, codec.encode(p.fields), 18, 6+len(p.inStead))
		case strings.HasPrefix(key, "r."):
			var u run
			d.t.codec.decode(key, row.Value, u.fields)
			if u.memory.reap == reapUnits {
				u.memory.reap = reapExports
			}
			u.memory.reapAfter, u.queue.bytes, u.poisoned.bytes, u.watches.count, u.watches.bytes, u.memory.replayKills, u.charged.at = "", 0, 0, 0, 0, 0, 0
			u.looks, u.rounds, u.version, u.decided, u.memory.owed, u.policy.reapInterval, u.policy.noRounds = lookList{}, rounds{}, 0, 0, 0, 0, false
			cut(key, codec.encode(u.fields), 38, 22)
		case strings.HasPrefix(key, "o."):
			o := *d.t.objects.look(d.t, KRef(key[len("o."):]))
			o.look = notListed
			cut(key, codec.encode(o.fields), 6, 1)
		case key == keySwept, strings.HasPrefix(key, "look."), strings.HasPrefix(key, "again."):
			writes = append(writes, storage.Write{Key: key})
		case strings.HasPrefix(key, "k."):
			var s service
			d.t.codec.decode(key, row.Value, s.fields)
			s.queuedBytes = 0
			cut(key, codec.encode(s.fields), 15, 1)
		case strings.HasPrefix(key, "j."):
			k, _, _ := strings.Cut(key[len("j."):], ".")
			old := prefixUnits(KRef(k)) + key[len(key)-unitDigits:]
			writes = append(writes, storage.Write{Key: key}, storage.Write{Key: old, Value: row.Value})
		case strings.HasPrefix(key, "u."):
			id := SubID(key[len("u."):])
			sub := *d.t.sub(id)
			sub.result = d.t.resultOf(&sub)
			sub.apart = false
			n, _ := d.t.uintRow(keyUnstarted(id))
			sub.unstarted += n
			if _, counted := d.t.uintRow(keyLeft(id)); counted {
				sub.members = slices.DeleteFunc(slices.Clone(sub.members), func(m member) bool {
					_, there := d.t.get(keyVat(m.vat))
					return !there
				})
			}
			cut(key, codec.encode(sub.fields), 16, 1)
		case strings.HasPrefix(key, "unstarted."), strings.HasPrefix(key, "left."), strings.HasPrefix(key, "result."):
			writes = append(writes, storage.Write{Key: key})
		case key == keyCount, key == keyExpired, strings.HasPrefix(key, "reload."):
			writes = append(writes, storage.Write{Key: key})
		}
	}
	if err := mem.Commit(writes); err != nil {
		panic(err)
	}
}

// BoundQueues sets the bound of a queue's bytes, which is large.
func (m *Machine) BoundQueues(bytes uint64) { m.queueBytes = bytes }

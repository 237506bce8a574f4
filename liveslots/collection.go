package liveslots

import (
	"context"
	"encoding/hex"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"

	"ocapkernel.dev/wire"
)

// Map is a durable table, for collections that may be larger than memory: each entry is a row of the vat's
// store, and is read when it is needed. It is a field of a durable object; the zero Map is empty and ready for
// use. Do not copy one.
//
// K is a string or integer type, a [Ref], or a pointer to a durable object. V is any type that durable state
// may hold. Entries come in the order of their keys: strings bytewise, integers by value, objects in no
// meaningful, but always the same, order. Get returns a copy of the stored entry; to change the entry, Set it.
// An entry that is an object is a reference to it, as always.
type Map[K comparable, V any] struct{ id uint64 }

// maxKeyBytes bounds a key of a Map, so that no caller can make the vat write a row that no store takes. The
// number of the Map is not counted.
const maxKeyBytes = 1000

// A collection is a *Map of any types.
type collection interface {
	number() *uint64
	types() (key, value reflect.Type)
}

func (m *Map[K, V]) number() *uint64 { return &m.id }
func (m *Map[K, V]) types() (key, val reflect.Type) {
	return reflect.TypeFor[K](), reflect.TypeFor[V]()
}

var typeCollection = reflect.TypeFor[collection]()

func isCollection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && reflect.PointerTo(t).Implements(typeCollection)
}

func collectionTypes(t reflect.Type) (key, value reflect.Type) {
	return reflect.New(t).Interface().(collection).types()
}

// makeCollection makes the codec of a field that holds a Map: the Map's number. The entries are rows of their
// own.
func makeCollection(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		return float64(*v.Addr().Interface().(collection).number()), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		n, ok := in.(float64)
		if !ok {
			return d.mismatch(c.sig, in)
		}
		*out.Addr().Interface().(collection).number() = uint64(n)
		return nil
	}
}

// whyUnstorableCollection returns the reason why a Map cannot be stored, for its types, or "". It makes the
// types known.
func (c *codecs) whyUnstorableCollection(t reflect.Type) string {
	k, v := collectionTypes(t)
	switch {
	case isFace(k, typeRef), k.Kind() == reflect.String:
	case k.Kind() >= reflect.Int && k.Kind() <= reflect.Uint64:
	case isObject(k):
		if why := c.whyUnstorable(k, nil); why != "" {
			return why
		}
	default:
		return "the key of a Map is a string, an integer, a Ref or a durable object, not " + typeName(k)
	}
	if isCollection(v) {
		return "a Map can only be a field of a durable object"
	}
	for _, x := range []reflect.Type{k, v} {
		if _, err := c.of(x); err != nil {
			return err.Error()
		}
	}
	return c.whyUnstorable(v, nil)
}

// Get returns the value of a key, and whether the Map has the key.
func (m *Map[K, V]) Get(ctx context.Context, key K) (V, bool) {
	v := running(ctx).v
	var val V
	if m.id == 0 {
		return val, false
	}
	rowKey, err := m.rowKey(v, key)
	if err != nil {
		return val, false
	}
	row, found := v.rows.get(rowKey)
	if found {
		m.decode(v, rowKey, row, &val)
	}
	return val, found
}

// Has reports whether the Map has the key.
func (m *Map[K, V]) Has(ctx context.Context, key K) bool {
	v := running(ctx).v
	if m.id == 0 {
		return false
	}
	rowKey, err := m.rowKey(v, key)
	if err != nil {
		return false
	}
	_, found := v.rows.get(rowKey)
	return found
}

// Set stores a value under a key, in place of the stored one. It returns an error, and changes nothing, for a
// key above 1000 bytes, and for a value that cannot be saved, such as an any that holds a promise.
func (m *Map[K, V]) Set(ctx context.Context, key K, val V) error {
	v := running(ctx).v
	c, err := v.codecs.of(reflect.TypeFor[V]())
	if err != nil {
		return err
	}
	e := encoder{v: v, durable: true}
	tree, err := c.enc(&e, reflect.ValueOf(&val).Elem())
	if err != nil {
		return fmt.Errorf("the value cannot be saved: %w", err)
	}
	if m.id == 0 {
		m.id = v.newMap(reflect.TypeFor[K]())
		v.rows.set(m.lengthKey(), []byte("0"))
	}
	rowKey, err := m.rowKey(v, key)
	if err != nil {
		return err
	}
	n, counted := m.length(v)
	keyed := isReference(reflect.TypeFor[K]())
	var was []byte
	if counted || keyed || !c.plain {
		var found bool
		if was, found = v.rows.get(rowKey); counted && !found {
			v.rows.set(m.lengthKey(), []byte(utoa(n+1)))
		}
	}
	now := []byte(v.stored(&e, tree, "the value"))
	if keyed || !c.plain {
		v.entryChanged(rowKey, m.keyRef(rowKey, keyed), was, now)
	}
	v.rows.set(rowKey, now)
	return nil
}

// Delete removes a key. To remove a key that the Map does not have changes nothing.
func (m *Map[K, V]) Delete(ctx context.Context, key K) {
	v := running(ctx).v
	if m.id == 0 {
		return
	}
	if rowKey, err := m.rowKey(v, key); err == nil {
		if was, found := v.rows.get(rowKey); found {
			v.entryChanged(rowKey, m.keyRef(rowKey, isReference(reflect.TypeFor[K]())), was, nil)
			v.rows.delete(rowKey)
			if n, counted := m.length(v); counted && (n > 0 || v.ids.rules() < rulesOfNames) { // an earlier version may have miscounted
				v.rows.set(m.lengthKey(), []byte(utoa(n-1)))
			}
		}
	}
}

// Len returns the number of entries. The number is stored; a Map that was made by an earlier version of this
// package has none, and is counted once.
func (m *Map[K, V]) Len(ctx context.Context) int {
	v := running(ctx).v
	if m.id == 0 {
		return 0
	}
	n, counted := m.length(v)
	if !counted {
		for key, _, found := v.rows.next(m.prefix(), m.first(v)); found; key, _, found = v.rows.next(m.prefix(), key) {
			n++
		}
		v.rows.set(m.lengthKey(), []byte(utoa(n)))
	}
	return int(n)
}

func (m *Map[K, V]) lengthKey() string { return lengthKey(m.id) }

func lengthKey(number uint64) string { return "n." + utoa(number) }

// keyRef returns the reference that is the key of a row, or "" if keys are not references.
func (m *Map[K, V]) keyRef(rowKey string, keyed bool) string {
	if !keyed {
		return ""
	}
	return rowKey[len(m.prefix()):]
}

// isReference reports whether the keys of a Map of this key type are references.
func isReference(key reflect.Type) bool { return isFace(key, typeRef) || isObject(key) }

// newMap returns the number of a new Map.
func (v *Vat) newMap(key reflect.Type) uint64 {
	n := v.ids.newMap()
	if isReference(key) {
		v.tally.keyed = append(v.tally.keyed, n)
	}
	return n
}

// length returns the stored number of entries; counted reports whether it is stored.
func (m *Map[K, V]) length(v *Vat) (n uint64, counted bool) {
	row, found := v.rows.get(m.lengthKey())
	if !found {
		return 0, false
	}
	n, err := strconv.ParseUint(string(row), 10, 64)
	if err != nil {
		panic(fault("stored length of a Map: " + err.Error()))
	}
	return n, true
}

// All iterates over the entries, in the order of their keys. The Map may change meanwhile: a change ahead of
// the iteration is seen.
func (m *Map[K, V]) All(ctx context.Context) iter.Seq2[K, V] {
	return m.scan(ctx, func(v *Vat) (string, error) { return m.first(v), nil })
}

// After iterates over the entries whose keys come after key.
func (m *Map[K, V]) After(ctx context.Context, key K) iter.Seq2[K, V] {
	return m.scan(ctx, func(v *Vat) (string, error) { return m.rowKey(v, key) })
}

func (m *Map[K, V]) scan(ctx context.Context, start func(*Vat) (string, error)) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		v := running(ctx).v
		if m.id == 0 {
			return
		}
		after, err := start(v)
		if err != nil {
			return
		}
		for {
			rowKey, row, found := v.rows.next(m.prefix(), after)
			if !found {
				return
			}
			var key K
			var val V
			if err := v.parseKey(rowKey[len(m.prefix()):], reflect.ValueOf(&key).Elem()); err != nil {
				panic(fault(fmt.Sprintf("stored key of a Map: %v", err)))
			}
			m.decode(v, rowKey, row, &val)
			if !yield(key, val) {
				return
			}
			running(ctx) // the body may have awaited; its turn must be the running one again
			after = rowKey
		}
	}
}

func (m *Map[K, V]) prefix() string { return entryPrefix(m.id) }

func entryPrefix(number uint64) string { return "m." + utoa(number) + "." }

// first returns a place before all rows of the Map. In spans of earlier versions it is behind the entry with an empty key;
// see [rulesOfNames].
func (m *Map[K, V]) first(v *Vat) string {
	if v.ids.rules() < rulesOfNames {
		return m.prefix()
	}
	return beforeEntries(m.id)
}

// beforeEntries returns a place before all rows of the Map with a number: also before the entry with an empty key, which is
// a zero [Ref], a nil pointer or an empty string.
func beforeEntries(number uint64) string { return strings.TrimSuffix(entryPrefix(number), ".") }

func (m *Map[K, V]) rowKey(v *Vat, key K) (string, error) {
	k, err := v.formatKey(reflect.ValueOf(&key).Elem())
	if err == nil && len(k) > maxKeyBytes {
		err = fmt.Errorf("a key of %d bytes: the limit is %d", len(k), maxKeyBytes)
	}
	return m.prefix() + k, err
}

func (m *Map[K, V]) decode(v *Vat, key string, row []byte, val *V) {
	d, tree, err := v.unstored(string(row))
	if err == nil {
		var c *codec
		if c, err = v.codecs.of(reflect.TypeFor[V]()); err == nil {
			err = c.decode(&d, tree, reflect.ValueOf(val).Elem())
		}
	}
	if err != nil {
		panic(fault(fmt.Sprintf("stored entry %q of a Map of %s: %v", key[len(m.prefix()):], typeName(reflect.TypeFor[V]()), err)))
	}
	v.fill()
}

// formatKey writes a key so that the order of the texts is the order of the keys.
func (v *Vat) formatKey(k reflect.Value) (string, error) {
	switch {
	case isDeleted(k):
		h := *k.Interface().(object).headOf()
		if h.ref == "" && v.ids.rules() >= rulesOfNames {
			return "", fmt.Errorf("this %s was deleted, and had no name: no Map has it as a key", h.kind.name)
		}
		return string(h.ref), nil
	case isFace(k.Type(), typeRef), isObject(k.Type()):
		e := encoder{v: v, durable: true}
		c, err := v.codecs.of(k.Type())
		if err != nil {
			return "", err
		}
		if _, err := c.enc(&e, k); err != nil {
			return "", err
		}
		if len(e.slots) == 0 {
			return "", nil
		}
		return string(v.name(e.slots[0])), nil
	case k.CanInt():
		return fmt.Sprintf("%016x", uint64(k.Int())^1<<63), nil
	case k.CanUint():
		return fmt.Sprintf("%016x", k.Uint()), nil
	}
	return escapeKey(k.String()), nil
}

func (v *Vat) parseKey(s string, k reflect.Value) error {
	switch {
	case isFace(k.Type(), typeRef), isObject(k.Type()):
		if s == "" {
			return nil
		}
		ref := wire.Ref(s)
		if isFace(k.Type(), typeRef) {
			k.Set(reflect.ValueOf(Ref{v.presence(ref)}).Convert(k.Type()))
			return nil
		}
		h := v.local(ref)
		if h == nil && isDurable(s) {
			return nil // it was deleted
		}
		if h == nil || h.self.Type() != k.Type() {
			return fmt.Errorf("%s is not a %s", s, typeName(k.Type()))
		}
		k.Set(h.self)
		return nil
	case k.CanInt():
		n, err := strconv.ParseUint(s, 16, 64)
		k.SetInt(int64(n ^ 1<<63))
		return err
	case k.CanUint():
		n, err := strconv.ParseUint(s, 16, 64)
		k.SetUint(n)
		return err
	}
	k.SetString(unescapeKey(s))
	return nil
}

// The keys of the store are UTF-8; a string need not be. Bytes that are not UTF-8, and the escape character
// itself, become \x01 and two digits.
const escapeChar = '\x01'

func escapeKey(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, escapeChar) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && n == 1 || r == escapeChar {
			b.WriteByte(escapeChar)
			b.WriteString(hex.EncodeToString([]byte{s[0]}))
		} else {
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func unescapeKey(s string) string {
	if strings.IndexByte(s, escapeChar) < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == escapeChar && i+2 < len(s) {
			if raw, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.WriteByte(raw[0])
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

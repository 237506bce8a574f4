package capdata

import (
	"fmt"
	"strconv"
)

// slotTable remembers the occurrences of each slot in the text so far. Nearly every body has few slots, and the
// first few cost no allocation.
type slotTable struct {
	few  [6]slotUse
	more map[int]slotUse
}

type slotUse struct {
	kind  byte // 0, '$' or '&'
	iface string
}

func (t *slotTable) get(slot int) slotUse {
	if slot < len(t.few) {
		return t.few[slot]
	}
	return t.more[slot]
}

func (t *slotTable) set(slot int, u slotUse) {
	if slot < len(t.few) {
		t.few[slot] = u
		return
	}
	if t.more == nil {
		t.more = make(map[int]slotUse)
	}
	t.more[slot] = u
}

// remotable notes an occurrence of an object. It reports whether the occurrence is the slot's first; fault
// describes a contradiction with an earlier one.
func (t *slotTable) remotable(slot int, iface string) (first bool, fault string) {
	if slot < 0 {
		return false, "negative slot " + strconv.Itoa(slot)
	}
	u := t.get(slot)
	switch {
	case u.kind == '&':
		return false, fmt.Sprintf("slot %d is both an object and a promise", slot)
	case iface != "" && u.iface != "" && u.iface != iface:
		return false, fmt.Sprintf("slot %d has two interface names", slot)
	case u.kind == 0 || u.iface == "" && iface != "":
		t.set(slot, slotUse{kind: '$', iface: iface})
	}
	return u.kind == 0, ""
}

// promise notes an occurrence of a promise; fault describes a contradiction with an earlier occurrence.
func (t *slotTable) promise(slot int) (fault string) {
	if slot < 0 {
		return "negative slot " + strconv.Itoa(slot)
	}
	switch t.get(slot).kind {
	case '$':
		return fmt.Sprintf("slot %d is both an object and a promise", slot)
	case 0:
		t.set(slot, slotUse{kind: '&'})
	}
	return ""
}

package kernel

import (
	"slices"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// answerLaunch settles the call that waits for a launch.
func (t *tx) answerLaunch(sub *subcluster, c func() Completion) {
	t.answerCall(sub.by, c)
	sub.by = CallID{}
}

// launchFailure returns the completion of a call that waits for a launch which fails.
func launchFailure(why string) Completion {
	body, err := capdata.Encode(&capdata.Error{Name: "Error", Message: "the launch failed: " + why})
	if err != nil {
		body = capdata.KernelError(errcode.Limit, "the launch failed")
	}
	return Completion{Rejected: true, Value: Data{Body: body}}
}

// launchValue returns the completion of the call with which a vat launches a subcluster.
func launchValue(sub *subcluster, answer Data) Completion {
	vats := &capdata.Record{}
	for _, m := range sub.members {
		vats.Fields = append(vats.Fields, capdata.Field{Name: m.name, Value: string(m.vat)})
	}
	record := func(result any) (string, error) {
		return capdata.Encode(&capdata.Record{Fields: []capdata.Field{
			{Name: "subcluster", Value: string(sub.id)},
			{Name: "root", Value: capdata.Remotable{Slot: 0, Iface: rootIface}},
			{Name: "vats", Value: vats},
			{Name: "bootstrapResult", Value: result},
		}})
	}
	slots := []KRef{sub.root}
	result, slots, ok := behind(answer, slots)
	body, err := record(result)
	if !ok || err != nil {
		slots = slots[:1]
		if body, err = record(nil); err != nil {
			return Completion{Rejected: true, Value: kernelError(errcode.Limit, err.Error())}
		}
	}
	return Completion{Value: Data{Body: body, Slots: slots}}
}

// maxPartBytes bounds the part of a stored value that is repeated in another.
const maxPartBytes = 64 << 10

// behind reads a value that is to become part of another one, which has slots of its own already, and returns it with
// the slots of both. ok is false if it cannot be a part: it cannot be decoded, is too large, or has too many slots.
func behind(d Data, slots []KRef) (v any, all []KRef, ok bool) {
	if len(d.Slots)+len(slots) > MaxSlots || len(d.Body) > maxPartBytes {
		return nil, slots, false
	}
	v, err := capdata.Decode(d.Body, len(d.Slots))
	if err != nil {
		return nil, slots, false
	}
	place := make([]int, len(d.Slots))
	for i, k := range d.Slots {
		if place[i] = slices.Index(slots, k); place[i] < 0 {
			place[i] = len(slots)
			slots = append(slots, k)
		}
	}
	return moveSlots(v, place), slots, true
}

// moveSlots renumbers the references in a value: place has the new slot of each.
func moveSlots(v any, place []int) any {
	switch v := v.(type) {
	case capdata.Remotable:
		if v.Slot = place[v.Slot]; v.Slot == 0 {
			v.Iface = rootIface // a body names the interface of a slot once
		}
		return v
	case capdata.Promise:
		v.Slot = place[v.Slot]
		return v
	case []any:
		for i := range v {
			v[i] = moveSlots(v[i], place)
		}
	case *capdata.Record:
		for i := range v.Fields {
			v.Fields[i].Value = moveSlots(v.Fields[i].Value, place)
		}
	case *capdata.Tagged:
		v.Payload = moveSlots(v.Payload, place)
	case *capdata.Error: // has no references
	}
	return v
}

// rootIface is the interface name of a vat's root in values that the kernel makes.
const rootIface = "Alleged: vatRoot"

// errorText returns the reason of a rejection as a text for a person.
func errorText(body string) string {
	text, isError := valueText(body)
	if !isError {
		text = "rejected with " + text
	}
	return text
}

// valueText returns a text for a person, and whether the value is an error: of an error its message, of any other value
// the body, which is not parsed further.
func valueText(body string) (text string, isError bool) {
	const most = 2000
	text = strings.TrimPrefix(body, "#") // which marks smallcaps
	if v, err := capdata.Decode(body, MaxSlots); err == nil {
		if e, ok := v.(*capdata.Error); ok {
			text, isError = e.Message, true
		}
	}
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.ToValidUTF8(text, "?"), isError
}

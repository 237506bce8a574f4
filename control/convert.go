package control

import (
	"encoding/json"
	"strings"
	"unicode/utf8"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// NewCall marshals a call whose arguments are JSON, without a ticket yet. Its errors are those that a client of
// the protocol gets.
func NewCall(target, method string, args []json.RawMessage) (Call, error) {
	c, err := makeCall(sendParams{Ticket: Ticket{ID: "new"}, Target: target, Method: method, Args: args})
	c.Ticket = Ticket{}
	return c, err
}

// JSON returns the value of a fulfilled call as JSON, and the reason of a rejected one as an [*Error].
func (a Answer) JSON() (json.RawMessage, error) {
	o, err := makeOutcome(a, false)
	if err != nil {
		return nil, err
	}
	if o.Error != nil {
		return nil, o.Error
	}
	return o.Value, nil
}

// makeCall checks the params of a call and marshals it.
func makeCall(p sendParams) (Call, error) {
	switch {
	case p.Ticket.ID == "":
		return Call{}, errNoTicket()
	case CheckTarget(p.Target) != nil:
		return Call{}, CheckTarget(p.Target)
	case p.Method == "" || len(p.Method) > MaxMethodBytes || !utf8.ValidString(p.Method):
		return Call{}, Errorf(errcode.Invalid, "a method's name has 1 to %d bytes of UTF-8", MaxMethodBytes)
	case len(p.Args) > MaxArgs:
		return Call{}, Errorf(errcode.Invalid, "%d arguments are too many: at most %d", len(p.Args), MaxArgs)
	}
	call := Call{Ticket: p.Ticket, Target: p.Target, Wait: p.Wait}
	index := make(map[string]int)
	slot := func(kref string) (int, error) {
		if !validRef("ko", kref) && !validRef("kp", kref) {
			return 0, Errorf(errcode.Invalid, "%s is no capability: want an object such as ko4 or a promise such as kp7", quoteShort(kref))
		}
		i, known := index[kref]
		if !known {
			i = len(call.MethArgs.Slots)
			index[kref] = i
			call.MethArgs.Slots = append(call.MethArgs.Slots, kref)
		}
		return i, nil
	}
	args := make([]any, len(p.Args))
	for i, text := range p.Args {
		v, err := capdata.FromJSON(text, slot)
		if err != nil {
			return Call{}, Errorf(errcode.Invalid, "argument %d: %v", i+1, err)
		}
		args[i] = v
	}
	body, err := capdata.EncodeCall(p.Method, args)
	if err != nil {
		return Call{}, Errorf(errcode.Invalid, "%v", err)
	}
	call.MethArgs.Body = body
	return call, nil
}

// makeOutcome gives an answer the form that the client wants.
func makeOutcome(a Answer, raw bool) (Outcome, error) {
	o := Outcome{Ticket: a.Ticket, Status: a.Status}
	if a.Status == Pending {
		return o, nil
	}
	if raw {
		o.CapData = &CapData{Body: a.Value.Body, Slots: a.Value.Slots}
		if o.CapData.Slots == nil {
			o.CapData.Slots = []string{}
		}
		return o, nil
	}
	if a.Status == Rejected {
		o.Error = rejection(a.Value)
		return o, nil
	}
	value, err := ToJSON(a.Value)
	if err != nil {
		// The vat caused it, and that is no reason to withhold the answer: --raw shows the body.
		return o, Errorf(errcode.Invalid, "%v (ask for the raw form)", err)
	}
	o.Value = value
	return o, nil
}

// rejection describes the reason of a rejected call. It describes any reason: a vat may reject with a value
// that is no error, or with a body that is no value.
func rejection(d Data) *Error {
	v, err := capdata.Decode(d.Body, len(d.Slots))
	if err != nil {
		return Errorf(errcode.Rejected, "the reason cannot be read: %v", err)
	}
	e, ok := v.(*capdata.Error)
	if !ok {
		text, err := capdata.ToJSON(v, nameSlot(d))
		if err != nil {
			return Errorf(errcode.Rejected, "the reason cannot be shown: %v", err)
		}
		return Errorf(errcode.Rejected, "%s", text)
	}
	if code, detail, ok := capdata.ParseKernelError(e); ok {
		return Errorf(code, "%s", detail)
	}
	if e.Name == "" || e.Name == "Error" {
		return Errorf(errcode.Rejected, "%s", e.Message)
	}
	return Errorf(errcode.Rejected, "%s: %s", e.Name, e.Message)
}

// ToJSON returns a value as JSON.
func ToJSON(d Data) (json.RawMessage, error) {
	v, err := capdata.Decode(d.Body, len(d.Slots))
	if err != nil {
		return nil, Errorf(errcode.Invalid, "the value's body is not smallcaps: %v", err)
	}
	return capdata.ToJSON(v, nameSlot(d))
}

func nameSlot(d Data) func(int) string { return func(slot int) string { return d.Slots[slot] } }

// validRef reports whether s is prefix and a decimal without leading zeros, the form of the kernel's ids.
func validRef(prefix, s string) bool {
	digits, ok := strings.CutPrefix(s, prefix)
	if !ok || digits == "" || len(digits) > 20 || digits[0] == '0' {
		return false
	}
	return strings.Trim(digits, "0123456789") == ""
}

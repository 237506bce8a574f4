package service

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
)

// Error is an error that reaches the caller with a code of the kernel's, on which programs branch. A method
// returns it, alone or wrapped.
type Error struct {
	// Code is one of [errcode.Rejections]; any other is passed as UNKNOWN.
	Code    errcode.Code
	Message string
}

// Error returns the code and the message.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Fulfil returns the reply that a call ended with v: any value that encoding/json can write, in the form of
// docs/json.md. References are passed as [Ref]; a "$ref" of any other origin is refused. A value that cannot be
// passed becomes a rejection with the reason. capdata.Undefined{} is passed as undefined.
//
// A reply that refers to new objects is Fulfil of a value with [NewRef] in it, and then its Exports set.
func Fulfil(v any) Reply {
	e := resultEncoder{}
	value, err := e.encode(v)
	if err != nil {
		return Fail(fmt.Errorf("the result cannot be passed: %w", err))
	}
	return Reply{Value: value}
}

// Reject returns the reply of a call that the kernel itself refuses: an error with a code on which programs
// branch. An unknown code becomes UNKNOWN.
func Reject(code errcode.Code, format string, args ...any) Reply {
	if !slices.Contains(errcode.Rejections(), code) {
		code = errcode.Unknown
	}
	return Reply{Rejected: true, Value: Data{Body: capdata.KernelError(code, fmt.Sprintf(format, args...))}}
}

// Fail returns the reply that a call ended with an error. An err that is or wraps an [*Error] rejects with its
// code and the whole text; any other is an ordinary error with the text of err, at most 4 KiB of it.
func Fail(err error) Reply {
	if coded, ok := errors.AsType[*Error](err); ok && coded != nil {
		text := coded.Message
		if err != error(coded) {
			text = strings.Replace(err.Error(), coded.Error(), coded.Message, 1)
		}
		return Reject(coded.Code, "%s", text)
	}
	name := "Error"
	if wrong, ok := errors.AsType[*typeError](err); ok && wrong != nil {
		name = "TypeError"
	}
	return rejectAs(name, err.Error())
}

// typeError is a call that does not fit the method: the caller's fault.
type typeError struct{ text string }

func (e *typeError) Error() string { return e.text }

func typeErrorf(format string, args ...any) error {
	return &typeError{fmt.Sprintf(format, args...)}
}

// maxMessageBytes bounds the text of an error, which may quote text of a vat.
const maxMessageBytes = 4 << 10

func rejectAs(name, message string) Reply {
	body, err := capdata.Encode(&capdata.Error{Name: name, Message: clip(message, maxMessageBytes)})
	if err != nil {
		panic("service: an error of valid text cannot be encoded: " + err.Error())
	}
	return Reply{Rejected: true, Value: Data{Body: body}}
}

// clip returns s as valid UTF-8, cut to at most n bytes and a mark.
func clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// resultEncoder makes the value of one reply.
type resultEncoder struct {
	// call is the call that the reply is for; nil outside of the methods that New calls.
	call *underWay

	slots   []string
	index   map[string]int // the index of a reference in slots, by the reference's text in the JSON
	exports []Export       // the exported objects to which the value refers
	fault   error          // the fault of a reference
}

// encode marshals v.
func (e *resultEncoder) encode(v any) (Data, error) {
	if v == any(capdata.Undefined{}) {
		return Data{Body: undefinedBody}, nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return Data{}, err
	}
	if len(text) > capdata.MaxBodyBytes {
		return Data{}, &Error{errcode.Limit, fmt.Sprintf("%d bytes of JSON, above the limit of %d bytes for a result", len(text), MaxResultBytes)}
	}
	tree, err := capdata.FromJSON(text, e.slot)
	switch {
	case e.fault != nil:
		return Data{}, e.fault // err quotes the JSON, with the secret mark in it
	case err != nil:
		return Data{}, err
	}
	body, err := capdata.Encode(tree)
	if err != nil {
		return Data{}, err
	}
	if len(body) > MaxResultBytes {
		return Data{}, &Error{errcode.Limit, fmt.Sprintf("%d bytes, above the limit of %d bytes for a result", len(body), MaxResultBytes)}
	}
	return Data{Body: body, Slots: e.slots}, nil
}

const undefinedBody = `#"#undefined"`

// slot returns the index of a reference, given its text in the JSON.
func (e *resultEncoder) slot(text string) (int, error) {
	if i, ok := e.index[text]; ok {
		return i, nil
	}
	name, err := e.name(text)
	if err == nil && len(e.slots) == MaxResultSlots {
		err = &Error{errcode.Limit, fmt.Sprintf("more than the limit of %d references in a result", MaxResultSlots)}
	}
	if err != nil {
		e.fault = err
		return 0, err
	}
	if e.index == nil {
		e.index = map[string]int{}
	}
	e.index[text] = len(e.slots)
	e.slots = append(e.slots, name)
	return len(e.slots) - 1, nil
}

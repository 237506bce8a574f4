package liveslots

import (
	"context"
	"fmt"
	"reflect"
)

// Message is a message to an object that has no method for it, unread. A method whose only parameter, after the
// context, is a Message gets all such messages. A Message belongs to the turn that got it: [Forward] sends it
// on, and it cannot be kept or passed in any other way.
type Message struct {
	method string
	// body is the marshalled [method, [arguments]], and slots are its references.
	body  string
	slots []any
	t     *turn
}

// Method returns the name of the method that the sender called. It may be any string.
func (m Message) Method() string { return m.method }

var typeMessage = reflect.TypeFor[Message]()

// Forward sends a message on, to a target as [Send] takes it, and returns a promise for its answer. The
// arguments are those of the message, unread: a promise among them is not awaited. If the message cannot be
// forwarded, the promise is rejected, with an error that says why.
func Forward(ctx context.Context, target any, m Message) Promise {
	t := running(ctx)
	slot, err := t.v.forwarded(t, target, m)
	if err != nil {
		return Promise{rejectedPromise(fmt.Errorf("forward: %w", err))}
	}
	return Promise{t.v.send(slot, value{body: m.body, slots: m.slots})}
}

func (v *Vat) forwarded(t *turn, target any, m Message) (slot any, err error) {
	switch {
	case m.t == nil:
		return nil, fmt.Errorf("the zero Message")
	case m.t != t:
		return nil, fmt.Errorf("the message came to another turn: it can be forwarded only by the turn that got it")
	case len(m.body) > v.maxValueBytes:
		return nil, fmt.Errorf("a message of %d bytes is too large to send: the limit is %d", len(m.body), v.maxValueBytes)
	case len(m.slots) > maxSlots:
		return nil, fmt.Errorf("a message with %d references: the limit is %d", len(m.slots), maxSlots)
	}
	return v.target(target)
}

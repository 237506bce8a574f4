package control

import (
	"crypto/rand"
	"strings"

	"ocapkernel.dev/errcode"
)

// maxIDBytes bounds a ticket's id and its epoch.
const maxIDBytes = 64

// Ticket names one call from outside: EPOCH.ID. The id is the caller's choice; the epoch is the kernel's
// and changes when its state is made anew, so that a call which is sent again cannot happen a second time
// in a state that does not remember the first. A ticket of another epoch is answered UNKNOWN.
type Ticket struct {
	// Epoch is empty in a ticket that means the kernel's present epoch.
	Epoch string
	// ID matches [A-Za-z0-9_-]{1,64}.
	ID string
}

// NewID returns a ticket id that was never used: 128 random bits.
func NewID() string { return strings.ToLower(rand.Text()) }

// ParseTicket reads EPOCH.ID, or a bare ID. The error is an [*Error] with errcode.Invalid.
func ParseTicket(s string) (Ticket, error) {
	epoch, id, both := strings.Cut(s, ".")
	if !both {
		epoch, id = "", s
	}
	if !validID(id) || (both && !validID(epoch)) {
		return Ticket{}, Errorf(errcode.Invalid, "%s is not a ticket: want EPOCH.ID or ID, each of 1 to %d letters, digits, _ or -", quoteShort(s), maxIDBytes)
	}
	return Ticket{Epoch: epoch, ID: id}, nil
}

func validID(s string) bool {
	if s == "" || len(s) > maxIDBytes {
		return false
	}
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// String returns the form that [ParseTicket] reads; empty for the zero Ticket.
func (t Ticket) String() string {
	if t.Epoch == "" {
		return t.ID
	}
	return t.Epoch + "." + t.ID
}

// MarshalText makes a ticket a string in JSON.
func (t Ticket) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the forms that [ParseTicket] reads.
func (t *Ticket) UnmarshalText(text []byte) error {
	parsed, err := ParseTicket(string(text))
	if err != nil {
		return err
	}
	*t = parsed
	return nil
}

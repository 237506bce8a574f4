// Package boxes has a closed set.
package boxes

import (
	"errors"
	"fmt"
	_ "image/png" // want "no import for its side effects"
)

// Box is one of [Round], [Square], *[Odd].
type Box interface{ isBox() }

// The boxes.
type (
	Round  struct{}
	Square struct{}
	Odd    struct{ Sides int }
)

func (Round) isBox()  {}
func (Square) isBox() {}
func (*Odd) isBox()   {}

// Open is no closed set: anybody can have its method.
type Open interface{ Method() }

var names = map[string]int{}

var last struct{ box Box }

func init() { // want "no init"
	names["round"] = 1 // want "names is a global that changes"
}

// Name names every case.
func Name(b Box) string {
	last.box = b // want "last is a global that changes"
	local := names
	local = nil
	_ = local
	switch b.(type) {
	case Round, Square:
		return "plain"
	case *Odd:
		return "odd"
	}
	return ""
}

// Forgets leaves cases out.
func Forgets(b Box) int {
	switch b := b.(type) { // want "the closed set boxes.Box does not name Square:"
	case Round:
		return 0
	case *Odd:
		return b.Sides
	default:
		return 4
	}
}

// Silent leaves cases out, and says nothing.
func Silent(b Box) {
	switch b.(type) { // want "the closed set boxes.Box does not name *Odd, Square:"
	case Round:
		fmt.Println("round")
	default:
	}
}

// Panics leaves cases out, and would notice.
func Panics(b Box) {
	switch b.(type) {
	case Round:
	default:
		panic(fmt.Sprintf("unknown box %T", b))
	}
}

// Refuses leaves cases out, and tells its caller.
func Refuses(b Box) (int, error) {
	switch b.(type) {
	case Round:
		return 1, nil
	default:
		return 0, errors.New("only round ones")
	}
}

// Other switches over what is no closed set.
func Other(o Open, x any) {
	switch o.(type) {
	case interface{ More() }:
	}
	switch x.(type) {
	case Round:
	}
}

// Package shop is the second version of the program.
package shop

import (
	"context"
	"fmt"

	"ocapkernel.dev/vat"
)

// Stock is a root.
type Stock struct {
	vat.Durable
	Added   int
	Kept    string
	Retyped string
	Plain   Plain
}

// Plain is passed by copy.
type Plain struct{ A string }

// New makes the root.
func New() *Stock { return &Stock{} }

// Show shows the fields, and changes one.
func (s *Stock) Show() string {
	s.Added++
	return fmt.Sprint(s.Kept, s.Added, s.Retyped)
}

// Ledger is a root with records.
type Ledger struct {
	vat.Durable
	One   Line
	Many  []*Line
	Named map[string]Line
	Fixed [2]Line
	Rows  vat.Map[string, Line]
	Small int64
	Half  float64
	Other *Latter
	Chain *Knot
}

// Line is a record.
type Line struct {
	Name  string
	Count int64
	Added []string
	Inner Inner
}

// Inner is a record in a record.
type Inner struct {
	X   int
	Y   bool
	Z   *Inner
	Odd int
}

// Knot is a record that leads to others of its kind.
type Knot struct {
	N    int
	Next *Knot
	New  string
}

// Latter is an object whose type had another name.
type Latter struct {
	vat.Durable `vat:"formerly shop.Former"`
	N           int64
	Added       string
}

// Get returns what it holds.
func (f *Latter) Get() int64 { return f.N }

// NewLedger makes the root.
func NewLedger() *Ledger { return &Ledger{} }

// Show shows what is read.
func (l *Ledger) Show(ctx context.Context) string {
	row, _ := l.Rows.Get(ctx, "ten")
	text := fmt.Sprint(l.One, *l.Many[0], *l.Many[1], l.Named["four"], l.Named["none"], l.Fixed[1], l.Small, l.Half, l.Other.N, l.Chain.N, l.Chain.Next.N, row)
	l.Small++
	return text
}

// OnGate is called when a promise is settled.
func (l *Ledger) OnGate(x vat.Outcome[string], line Line, other *Latter) string {
	return fmt.Sprint(x.Err != nil, line, other.N)
}

// Make returns a new object beside the one that was renamed.
func (l *Ledger) Make() []*Latter { return []*Latter{l.Other, {N: 12}} }

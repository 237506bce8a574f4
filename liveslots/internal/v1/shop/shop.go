// Package shop is the first version of a program, for tests of what happens to its state.
package shop

import (
	"context"

	"ocapkernel.dev/vat"
)

// Stock is a root.
type Stock struct {
	vat.Durable
	Kept    string
	Gone    int
	Retyped int
	Plain   Plain
}

// Plain is passed by copy.
type Plain struct{ A int }

// New makes the root.
func New() *Stock { return &Stock{} }

// Set sets fields.
func (s *Stock) Set(gone, retyped, a int) {
	s.Kept, s.Gone, s.Retyped, s.Plain.A = "kept", gone, retyped, a
}

// Watch has OnGate called when b settles a promise. The second version has no such method.
func (s *Stock) Watch(ctx context.Context, b vat.Ref) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, b, "gate", "g"), s, "OnGate")
}

// WatchItem has a method of an Item called, which the second version does not have.
func (s *Stock) WatchItem(ctx context.Context, b vat.Ref) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, b, "gate", "g"), &Item{}, "OnGate")
}

// OnGate is called when a promise is settled.
func (s *Stock) OnGate(x vat.Outcome[string]) string { return x.Value }

// Item is another object.
type Item struct{ vat.Durable }

// GetItem makes Item known.
func (s *Stock) GetItem() *Item { return nil }

// OnGate is called when a promise is settled.
func (i *Item) OnGate(x vat.Outcome[string]) string { return x.Value }

// Ledger is a root with records.
type Ledger struct {
	vat.Durable
	One   Line
	Many  []Line
	Named map[string]*Line
	Fixed [2]Line
	Rows  vat.Map[string, Line]
	Small int16
	Half  float32
	Other *Former
	Chain *Link
}

// Line is a record.
type Line struct {
	Name  string
	Count int32
	Gone  string
	Inner Inner
}

// Inner is a record in a record.
type Inner struct {
	X    uint8
	Y    bool
	Gone int
	Odd  string
}

// Link is a record that leads to others of its kind.
type Link struct {
	N    int
	Next *Link
}

// Former is an object whose type gets another name.
type Former struct {
	vat.Durable
	N int
}

// Get returns what it holds.
func (f *Former) Get() int { return f.N }

// NewLedger makes the root.
func NewLedger() *Ledger { return &Ledger{} }

// Fill fills the ledger, at most with one thing that the second version cannot read, which is named.
func (l *Ledger) Fill(ctx context.Context, what string) error {
	l.One = Line{"one", 1, "", Inner{X: 10, Y: true}}
	l.Many = []Line{{"two", 2, "", Inner{X: 20}}, {Name: "three"}}
	l.Named = map[string]*Line{"four": {"four", 4, "", Inner{X: 40}}, "none": nil}
	l.Fixed[1].Count = 5
	l.Small, l.Half = -6, 0.5
	l.Other = &Former{N: 7}
	l.Chain = &Link{8, &Link{9, nil}}
	row := Line{"ten", 10, "", Inner{X: 100}}
	switch what {
	case "one":
		l.One.Gone = "kept"
	case "inner":
		l.One.Inner.Gone = 3
	case "retyped":
		l.One.Inner.Odd = "odd"
	case "many":
		l.Many[1].Inner.Gone = 3
	case "named":
		l.Named["four"].Gone = "kept"
	case "fixed":
		l.Fixed[0].Gone = "kept"
	case "row":
		row.Inner.Gone = 3
	case "rowRetyped":
		row.Inner.Odd = "odd"
	}
	return l.Rows.Set(ctx, "ten", row)
}

// Later has a method called with a record, when b settles a promise.
func (l *Ledger) Later(ctx context.Context, b vat.Ref, gone string) vat.Promise {
	return vat.When(ctx, vat.Send(ctx, b, "gate", "g"), l, "OnGate", Line{"later", 11, gone, Inner{X: 110}}, l.Other)
}

// OnGate is called when a promise is settled.
func (l *Ledger) OnGate(x vat.Outcome[string], line Line, other *Former) string { return x.Value }

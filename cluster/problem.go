package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxProblems bounds the list of one [Errors]: a person reads no more, and a hostile file has many.
const maxProblems = 100

// Problem is one mistake in a configuration.
type Problem struct {
	// File is the name under which the configuration was requested.
	File string
	// Line and Column count from 1, Column in characters; both are 0 if the mistake has no place.
	Line, Column int
	// Field is the dotted path of the field, such as vats.alice.module; empty for the file itself.
	Field string
	// Message describes the mistake, the expected form, and the way to mend it.
	Message string
}

// String returns file:line:column: field: message, without the parts that are not known.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Errors is the error of a configuration with mistakes: all of them, in the order of the file.
type Errors struct {
	Problems []Problem
	// More counts the mistakes that are not listed.
	More int

	// partial is the configuration as far as it could be read. CheckModules and CheckServices find more
	// mistakes in it.
	partial *Config
	// system is the declaration of system subclusters as far as it could be read, for CheckSystem.
	system *declared
}

// Error returns one line for each problem.
func (e *Errors) Error() string {
	lines := make([]string, 0, len(e.Problems)+1)
	for _, p := range e.Problems {
		lines = append(lines, p.String())
	}
	if e.More > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", e.More))
	}
	return strings.Join(lines, "\n")
}

// err returns nil for no problems, else e, sorted.
func (e *Errors) err() error {
	if len(e.Problems) == 0 {
		return nil
	}
	slices.SortStableFunc(e.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return e
}

// add takes the problem as a function, since finding its place costs.
func (e *Errors) add(problem func() Problem) {
	if len(e.Problems) >= maxProblems {
		e.More++
		return
	}
	e.Problems = append(e.Problems, problem())
}

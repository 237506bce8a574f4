// Package shell has a loop, owners of what it knows, and breaches of the rules for both.
package shell

import (
	"io"
	"os"
	"sync"
	"time"
)

// Shell has owners.
type Shell struct {
	*loop
	seats *seats
	bells *bells
}

// seats own a table, and its entries.
type seats struct {
	*loop
	table map[string]*seat
	order []string
	note  note
	n     int
}

type seat struct{ taken bool }

// note is no owner: it is a part of what has it.
type note struct{ text string }

type bells struct {
	*loop
	seats *seats
	whole *Shell            // want "Shell has all owners, and is no field: name the owners that are called"
	asked func() []*Shell   // want "Shell has all owners, and is no field"
	names map[string]string // leads to none
	rung  int
	mu    sync.Mutex
}

type loop struct {
	next    []func()
	inbox   chan func()
	remove  func()
	stopped bool
}

func link() *Shell {
	l := &loop{}
	s := &Shell{loop: l, seats: &seats{loop: l, table: map[string]*seat{}}, bells: &bells{}}
	s.bells.seats = s.seats
	return s
}

// An owner does with its own what it likes.
func (ss *seats) take(name string) {
	ss.table[name] = &seat{}
	ss.table[name].taken = true
	ss.order = append(ss.order, name)
	ss.note.text = name
	ss.n++
}

func (ss *seats) has(name string) bool { return ss.table[name] != nil }

func (ss *seats) seat(name string) *seat { return ss.table[name] }

func (b *bells) ring(name string) {
	b.rung++
	if !b.seats.has(name) {
		b.seats.take(name)
	}
	b.seats.table[name] = &seat{}   // want "table is a field of seats, whose methods alone change it"
	b.seats.seat(name).taken = true // want "taken is a field of seats, whose methods alone change it"
	b.seats.note.text = ""          // want "note is a field of seats, whose methods alone change it"
	b.seats.n++                     // want "n is a field of seats, whose methods alone change it"
	delete(b.seats.table, name)     // want "table is a field of seats, whose methods alone change it"
	p := &b.seats.n                 // want "n is a field of seats, whose methods alone change it"
	_ = len(b.seats.order) + *p     // want "order is a table of seats: ask seats for what is in it"
	_ = b.seats.n                   // a number may be looked at
	b.stopped = true                // want "stopped is a field of loop, whose methods alone change it"
	func() { b.seats.n = 0 }()      // want "n is a field of seats, whose methods alone change it"
	local := map[string]*seat{name: nil}
	local[name] = nil
}

func reset(s *Shell) { // want "Shell has all owners, and is no parameter: name the owners that are called"
	s.bells.rung = 0 // want "rung is a field of bells, whose methods alone change it"
}

// guard runs a step, and then what it has listed.
func (l *loop) guard(step func()) { // want "loop.guard runs steps, and is reached from a step: a function in Shell.nested → Shell.again → loop.guard"
	step()
	for _, f := range l.next {
		f()
	}
}

func (l *loop) aside(f func()) { go f() }

// post waits, and is not for steps.
func (l *loop) post(f func()) {
	l.inbox <- f // want "a send may block, and is reached from a step: a function in Shell.posts → loop.post"
}

// poll does not wait.
func (l *loop) poll() {
	select {
	case f := <-l.inbox:
		f()
	default:
	}
}

// run is no step: it may wait.
func (s *Shell) run() {
	for f := range s.inbox {
		s.guard(f)
		s.guard(s.step)
		s.guard(s.poll)
	}
}

func (s *Shell) step() {
	s.seats.take("a")
	s.sleeps()
	s.aside(func() { time.Sleep(1) })
	s.aside(s.waits)
	go s.waits()
	time.AfterFunc(1, func() { s.post(s.poll) })
	s.locks()
	generic[int](s)
}

func (s *Shell) sleeps() {
	time.Sleep(1) // want "time.Sleep may block, and is reached from a step: Shell.step → Shell.sleeps"
}

func (s *Shell) waits() { <-s.inbox }

// locks is allowed to.
func (s *Shell) locks() {
	s.bells.mu.Lock()
	s.bells.mu.Unlock()
}

func generic[T any](s *Shell) { // want "Shell has all owners, and is no parameter"
	var w sync.WaitGroup
	w.Wait() // want "sync.WaitGroup.Wait may block, and is reached from a step: Shell.step → generic"
}

func (s *Shell) nested() {
	s.guard(func() { s.again() })
}

func (s *Shell) again() { s.guard(s.poll) }

func (s *Shell) posts(c io.Closer) {
	s.guard(func() {
		s.post(s.poll)
		_ = c.Close()       // want "io.Closer.Close may block"
		_, _ = os.Getwd()   // want "os.Getwd may block"
		s.remove()          // want "loop.remove may block"
		for range s.inbox { // want "a receive may block"
		}
		select { // waits
		case s.inbox <- s.poll: // want "a send may block"
		case <-s.inbox: // want "a receive may block"
		}
		func() { <-s.inbox }() // want "a receive may block"
		s.poll()
	})
}

// Ring is called through an interface.
func (s *Shell) Ring() {
	<-s.inbox // want "a receive may block, and is reached from a step: Shell.Ring"
}

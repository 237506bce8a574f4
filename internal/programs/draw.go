package programs

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A message is a program that one vat gets from outside. The answer of an aside message is awaited only at the
// end: its turn waits for a promise that a later message settles.
type message struct {
	to    string
	steps []step
	aside bool
}

// A Script is a run of random programs: the messages that vats get.
type Script struct {
	messages []message
	// heard counts, for each vat, the continuations that will have been called at the end.
	heard map[string]int
}

// Vats are the names of the vats that programs run in. The last one leaves.
var Vats = []string{"a", "b", "c", "leaver"}

// generator draws scripts.
type generator struct {
	*rand.Rand
	Script
	keys int
	// open are, by vat, the promises that wait to be settled.
	open map[string][]string
}

// Draw returns a random script of n messages.
func Draw(r *rand.Rand, n int) Script {
	g := &generator{Rand: r, Script: Script{heard: map[string]int{}}, open: map[string][]string{}}
	leaver := Vats[3]
	leaves := n/2 + g.IntN(n/2)
	for i := range n {
		to := Vats[g.IntN(len(Vats)-1)]
		switch {
		case i == leaves:
			g.messages = append(g.messages, message{to: leaver, steps: []step{{Do: "leave", Key: "end"}}})
			continue
		case g.IntN(16) == 0:
			g.messages = append(g.messages, message{to: leaver, steps: g.local(g.shared)})
			continue
		case i < leaves && g.IntN(10) == 0: // after it, the answer depends on the moment
			key := g.fresh("end")
			g.heard[to]++
			g.messages = append(g.messages, message{to: to, steps: []step{{Do: "mourn", Key: key, Peer: leaver}}})
			continue
		case g.IntN(8) == 0:
			key := g.fresh("promise")
			g.open[to] = append(g.open[to], key)
			g.heard[to]++
			g.messages = append(g.messages, message{to: to, steps: []step{{Do: "promise", Key: key}}},
				message{to: to, steps: []step{{Do: "park", Key: key, Peer: g.peer()}}, aside: true})
			continue
		case len(g.open[to]) > 0 && g.IntN(3) == 0:
			g.messages = append(g.messages, g.close(to))
			continue
		}
		g.messages = append(g.messages, message{to: to, steps: g.steps(to, 2, g.shared)})
	}
	for _, to := range Vats {
		for len(g.open[to]) > 0 {
			g.messages = append(g.messages, g.close(to))
		}
	}
	return g.Script
}

// close settles the oldest open promise of a vat.
func (g *generator) close(to string) message {
	key := g.open[to][0]
	g.open[to] = g.open[to][1:]
	return message{to: to, steps: []step{{Do: []string{"settle", "settle", "break"}[g.IntN(3)], Key: key, N: g.IntN(100)}}}
}

func (g *generator) peer() string { return Vats[g.IntN(len(Vats)-1)] }

func (g *generator) fresh(what string) string {
	g.keys++
	return fmt.Sprint(what, g.keys)
}

// shared returns the name of a row that other messages use, too.
func (g *generator) shared() string { return []string{"s1", "s2", "s3"}[g.IntN(3)] }

// local draws steps that concern the vat alone.
func (g *generator) local(key func() string) (steps []step) {
	kinds := []string{
		"get", "ensure", "ensure", "set", "delete", "has", "write", "read", "item", "bump", "forget", "print",
	}
	for range 1 + g.IntN(4) {
		steps = append(steps, step{Do: kinds[g.IntN(len(kinds))], Key: key(), N: 1 + g.IntN(90)})
	}
	return append(steps, step{Do: "list", Key: "s"})
}

// steps draws a program for a vat. Programs that run beside others use rows of their own, which key names.
func (g *generator) steps(to string, depth int, key func() string) (steps []step) {
	kinds := []string{"local", "local", "lend", "spark", "pipe", "circle", "row", "chain", "order", "both", "dice", "keepSpark"}
	if depth > 0 {
		kinds = append(kinds, "call", "call", "watch", "watch")
	}
	for range 1 + g.IntN(3) {
		s := step{Do: kinds[g.IntN(len(kinds))], Key: key(), N: 1 + g.IntN(6), Peer: g.peer()}
		switch s.Do {
		case "local":
			local := g.local(key)
			if !strings.HasPrefix(s.Key, "s") {
				local = local[:len(local)-1] // others write the shared rows meanwhile
			}
			steps = append(steps, local...)
			continue
		case "keepSpark":
			if g.IntN(4) > 0 || !strings.HasPrefix(s.Key, "s") {
				continue // a vat does not come to rest after it
			}
		case "call":
			s.Sub = g.steps(s.Peer, depth-1, key)
		case "watch":
			s.Key = g.fresh("watch")
			g.heard[to] += 2
			own := func() string { return s.Key }
			s.Sub = g.steps(s.Peer, depth-1, own)
		}
		steps = append(steps, s)
	}
	return steps
}

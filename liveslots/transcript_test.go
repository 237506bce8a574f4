package liveslots_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/wire"
)

// oldSpan are the deliveries of a span of a vat of module Orderly, in which messages overtake others under the rules
// of earlier versions, in each way in which they did.
func oldSpan(t *testing.T) []wire.Delivery {
	settled := func(ref wire.Ref, body string, slots ...wire.Ref) wire.Delivery {
		return wire.Notify{Resolutions: []wire.Resolution{{Promise: ref, Value: wire.CapData{Body: body, Slots: slots}}}}
	}
	return []wire.Delivery{
		message(t, "p-2", "make", "p"),
		message(t, "p-3", "then", "p", []any{"4"}),
		message(t, "p-4", "note", "p", []any{"1", "2"}),
		message(t, "p-5", "note", "p", []any{"3"}),
		message(t, "p-6", "ends"),
		message(t, "p-7", "make", "big"),
		message(t, "p-8", "note", "big", []any{"never"}),
		message(t, "p-9", "make", "q"),
		message(t, "p-10", "noteWeak", "q", "1"),
		message(t, "p-11", "resolve", "p"),
		message(t, "p-12", "resolveLate", "big", "q"),
		message(t, "p-13", "store", float64(3)),
		message(t, "p-14", "note", "q", []any{"2"}),
		settled("p+1", `#null`),
		settled("p+10", `#null`),
		settled("p+11", `#"a"`),
		settled("p+12", `#"late"`),
		message(t, "p-15", "make", "r"),
		message(t, "p-16", "note", "r", []any{"1"}),
		message(t, "p-17", "follow", "r", "g"),
		message(t, "p-18", "resolve", "r"),
	}
}

// spanOfRules2 are the deliveries of a span of a vat of module Orderly, in which messages to promises that follow others
// overtake others.
func spanOfRules2(t *testing.T) (list []wire.Delivery) {
	n := 1
	for _, step := range []string{
		"make p", "make q", "make r", "note q x", "followOne p q", "note p 1", "followOne q r", "note p 2", "name p", "note p 3", "resolve r", // by memory
		"make s", "make u", "note u x", "followOne s u", "note s 1", "followStored u g", "note s 2", "sendLate s h 3", // by the store
		"makeOwn v w", "resolve w", "notes u y",
	} {
		words := strings.Fields(step)
		args := []any{}
		for _, w := range words[1:] {
			args = append(args, w)
		}
		switch words[0] {
		case "note":
			args[1] = []any{args[1]}
		case "notes":
			args = append(args, 3.0)
		}
		n++
		list = append(list, message(t, wire.Ref(fmt.Sprint("p-", n)), words[0], args...))
	}
	late := wire.CapData{Body: `#["lateLine",["&0","3","&1"]]`, Slots: []wire.Ref{"p+16", "p+15"}}
	list = append(list, wire.Call{Target: wire.RootRef, Message: wire.Message{MethArgs: late, Result: "p+17"}})
	for _, p := range []wire.Ref{"p+15", "p+12"} { // the gates h and g
		list = append(list, wire.Notify{Resolutions: []wire.Resolution{{Promise: p, Value: wire.CapData{Body: `#"x"`}}}})
	}
	return list
}

// span0, span1 and span2 are transcripts: the rows at the beginning of a span, as "row KEY VALUE", then the answers to its
// deliveries, as "done FRAME"; values and frames in hexadecimal, and of large frames the hash. The version before rules
// were numbered has written the answers to oldSpan, the last version with [rulesOfOrder] those to spanOfRules1, and the last version with
// [rulesOfNames] those to spanOfRules2.
const span0, span1, span2 = "testdata/span0.txt", "testdata/span1.txt", "testdata/span2.txt"

func readSpan(t *testing.T, file string) (store testStore, answers []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	store = testStore{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		switch words := strings.Fields(lines.Text()); words[0] {
		case "row":
			value, err := hex.DecodeString(words[2])
			if err != nil {
				t.Fatal(err)
			}
			store[words[1]] = value
		case "done":
			answers = append(answers, words[1])
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return store, answers
}

func answer(t *testing.T, d wire.Done) string {
	t.Helper()
	frame, err := wire.AppendUp(nil, d)
	if err != nil {
		t.Fatal(err)
	}
	if frame = frame[wire.HeaderBytes:]; len(frame) > 4<<10 {
		sum := sha256.Sum256(frame)
		return "sum:" + hex.EncodeToString(sum[:])
	}
	return hex.EncodeToString(frame)
}

// A span that an earlier version began is replayed by the rules of that version, although messages overtook
// others by them, and references were lost.
func TestSpansOfEarlierVersionsAreReplayed(t *testing.T) {
	for _, c := range []struct {
		file        string
		constructor any
		deliveries  []wire.Delivery
	}{{span0, NewOrderly, oldSpan(t)}, {span1, NewRuled, spanOfRules1(t)}, {span2, NewOrderly, spanOfRules2(t)}} {
		store, answers := readSpan(t, c.file)
		m, err := liveslots.Compile("m", c.constructor)
		if err != nil {
			t.Fatal(err)
		}
		v := newVat(t, m, wire.Start{}, store, nil)
		if len(answers) != len(c.deliveries) {
			t.Fatalf("%s: %d answers to %d deliveries", c.file, len(answers), len(c.deliveries))
		}
		for i, d := range c.deliveries {
			done := v.Deliver(wire.Deliver{Number: uint64(i + 3), Delivery: d})
			if got := answer(t, done); got != answers[i] {
				t.Fatalf("%s: delivery %d: got %s\nwant %s\n%.2000s", c.file, i+3, got, answers[i], fmt.Sprintf("%+v", done))
			}
			store.apply(done.Syscalls)
		}
	}
}

// The rules of this version hold from the first crank on after one that an earlier version's vat ends at rest.
func TestNextSpanFollowsTheRulesOfThisVersion(t *testing.T) {
	store, _ := readSpan(t, span0)
	m, err := liveslots.Compile("m", NewOrderly)
	if err != nil {
		t.Fatal(err)
	}
	v := newVat(t, m, wire.Start{}, store, nil)
	deliver := func(n uint64, method string, args ...any) wire.Done {
		done := v.Deliver(wire.Deliver{Number: n, Delivery: message(t, wire.Ref(fmt.Sprint("p-", n)), method, args...)})
		store.apply(done.Syscalls)
		return done
	}
	watches := func(d wire.Done) (n int) {
		for _, s := range d.Syscalls {
			if _, ok := s.(wire.Watch); ok {
				n++
			}
		}
		return n
	}
	const mark = `"rules":3`
	if strings.Contains(string(store["ids"]), mark) {
		t.Fatalf("the store of an earlier version has rules: %s", store["ids"])
	}
	if n := watches(deliver(3, "ends")); n != 2 {
		t.Errorf("in the span of the earlier version there are %d watches, want 2", n)
	}
	if !strings.Contains(string(store["ids"]), mark) {
		t.Errorf("after it the rules are not there: %s", store["ids"])
	}
	for _, fresh := range []bool{false, true} {
		if fresh {
			v = newVat(t, m, wire.Start{HighPromise: 100}, store, nil)
		}
		if n := watches(deliver(4, "ends")); n != 1 {
			t.Errorf("in the next span (worker fresh: %t) there are %d watches, want 1", fresh, n)
		}
	}
}

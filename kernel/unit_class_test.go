package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/kernel"
)

// classes is a world in which units of two classes went back to the channel ko6: n of the class read, of 10 KB each, then one
// of the class accept, then n more.
func classes(t *testing.T, n int) *world {
	t.Helper()
	w := reader(t)
	w.unchecked = true
	w.goes("v1", repeat(1, 2*n+1, "send $in read -> p+%d")+repeat(1, 2*n+1, "subscribe p+%d")+"resolve $r=null")
	for i := range 2*n + 1 {
		c := kernel.Completion{Unit: "read", Value: kernel.Data{Body: fmt.Sprintf(`#"%05d %s"`, i, strings.Repeat("x", 10_000))}}
		if i == n {
			c = kernel.Completion{Unit: "accept", Value: kernel.Data{Body: `#"connection"`}}
		}
		commit, _, err := w.m.Complete(kernel.CallID{Service: "ko6", N: uint64(i)}, c, w.now)
		w.do(commit, err)
	}
	w.forget("v1")
	if got := w.service("ko6").Units; got != uint64(2*n+1) {
		t.Fatalf("%d units went back:\n%.2000s", got, w.flush())
	}
	w.check()
	w.flush()
	return w
}

// take has a call take a unit, and returns its text up to the first space.
func (w *world) take(class string) string {
	w.t.Helper()
	id := fmt.Sprintf("E1.take%d", w.m.CommitNumber())
	w.call(id, "ko6", class)
	calls := w.outstanding("ko6")
	c, taken, err := w.m.TakeUnit(kernel.CallID{Service: "ko6", N: calls[len(calls)-1]}, class, w.now)
	if err != nil || !taken {
		w.t.Fatalf("taken %t, %v", taken, err)
	}
	w.apply(c)
	text, _, _ := strings.Cut(strings.Trim(must(w.m.Ticket(id)).Value.Body, `#"`), " ")
	return text
}

// A take of a unit does not read those of other classes that are before it, and each class has an order of its own.
func TestTakingAUnitReadsNoOtherClass(t *testing.T) {
	const n = 200
	w := classes(t, n)
	r := count(w)
	if got := w.take("accept"); got != "connection" {
		t.Errorf("got %q", got)
	}
	for i := range 3 {
		if got := w.take("read"); got != fmt.Sprintf("%05d", i) {
			t.Errorf("got %q, want %d", got, i)
		}
	}
	if r.bytes > 200_000 {
		t.Errorf("%d bytes were read for four units", r.bytes)
	}
	w.check()
	if left := w.leftovers(); len(left) > 0 {
		t.Errorf("left %d rows", len(left))
	}
}

// Units that an earlier version put back are taken with the others, in the order in which they were read.
func TestUnitsOfAnEarlierVersionKeepTheirPlace(t *testing.T) {
	w := classes(t, 3)
	kernel.Downgrade(w.mem)
	w.open()
	w.check()
	if got := w.take("read"); got != "00000" {
		t.Errorf("got %q", got)
	}
	// One more goes back to its place, as this version does it: before and behind those of the earlier one.
	w.goes("v1", "send $in read -> p+100\nsubscribe p+100\nsend $in read -> p+101\nsubscribe p+101\nresolve $r=null")
	calls := w.outstanding("ko6")
	c, taken, err := w.m.TakeUnit(kernel.CallID{Service: "ko6", N: calls[0]}, "read", w.now) // 00001
	if err != nil || !taken {
		t.Fatalf("taken %t, %v", taken, err)
	}
	w.apply(c)
	w.unit("ko6", calls[1], "late") // behind all of them: 00002 is told in its place
	w.forget("v1")
	w.check()
	for _, want := range []string{"00001", "00002", "00004", "00005", "00006", "late"} {
		if got := w.take("read"); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := w.take("accept"); got != "connection" {
		t.Errorf("got %q", got)
	}
	w.check()
}

// The class of a unit is the word of the program that has the channel: any word, up to a length.
func TestClassesOfUnitsAreAnyWords(t *testing.T) {
	w := reader(t)
	words := []string{"a.b", "a", "00000000000000000001", "c", "\xff", strings.Repeat("x", 100)}
	w.goes("v1", repeat(1, len(words)+1, "send $in read -> p+%d")+repeat(1, len(words)+1, "subscribe p+%d")+"resolve $r=null")
	for i, class := range append(words, strings.Repeat("x", 101)) {
		c, _, err := w.m.Complete(kernel.CallID{Service: "ko6", N: uint64(i)}, kernel.Completion{Unit: class, Value: kernel.Data{Body: fmt.Sprintf(`#"%d"`, i)}}, w.now)
		w.do(c, err)
	}
	w.forget("v1")
	if got := w.service("ko6").Units; got != uint64(len(words)) {
		t.Errorf("%d units went back, want %d", got, len(words))
	}
	for i := len(words) - 1; i >= 0; i-- {
		if got := w.take(words[i]); got != fmt.Sprint(i) {
			t.Errorf("class %q: got %q, want %d", words[i], got, i)
		}
	}
}

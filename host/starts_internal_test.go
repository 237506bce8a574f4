package host

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/kernel"
)

// life is the note of one kernel, and its end.
type life struct {
	open, made []kernel.VatID // memories that are being made at its end, and that were made
	step       kernel.VatID
	// end is "clean", "failed", "crash", "kill", or "short", a kill when the system has killed a process; after is how long after its start the next one starts.
	end   string
	after time.Duration
}

// heldAfter has kernels live one after the other, and returns whom the next one holds back, and how many have died by
// themselves.
func heldAfter(lives []life) (held []kernel.VatID, deaths int) {
	var short memoryKills
	n, now := note{}.judge(false, short, time.UnixMilli(0)), time.UnixMilli(0)
	for _, l := range lives {
		for _, v := range l.made {
			delete(n.Suspects, v)
		}
		n.Open, n.Step = l.open, l.step
		switch l.end {
		case "clean":
			n = note{Held: n.Held}
		case "failed":
			n.Running, n.Failed = false, "commit: the disk fails"
		}
		if now = now.Add(l.after); l.end == "short" {
			short.Machine++
		}
		n = n.judge(l.end == "crash", short, now)
	}
	for v := range n.Held {
		held = append(held, v)
	}
	slices.Sort(held)
	return held, n.Deaths
}

func times(n int, l life) (out []life) {
	for range n {
		out = append(out, l)
	}
	return out
}

func TestTheVatThatEachDeathMetIsHeldBack(t *testing.T) {
	v := func(ids ...kernel.VatID) []kernel.VatID { return ids }
	for _, c := range []struct {
		name   string
		lives  []life
		held   []kernel.VatID
		deaths int
	}{
		{"two deaths", times(2, life{open: v("v1"), end: "failed"}), nil, 2},
		{"three deaths", times(3, life{open: v("v1"), end: "failed"}), v("v1"), 3},
		{"three crashes", times(3, life{open: v("v1"), end: "crash"}), v("v1"), 3},
		{"three deaths in a step", times(3, life{step: "v2", open: v("v1"), end: "crash"}), v("v2"), 3},
		{"deaths that meet no vat", times(5, life{end: "failed"}), nil, 5},
		{"deaths that meet another vat each", []life{
			{open: v("v1"), end: "failed"}, {open: v("v2"), end: "failed"}, {open: v("v1"), end: "failed"}, {open: v("v2"), end: "failed"},
		}, nil, 4},
		{"the vat that all deaths have in common", []life{
			{open: v("v1", "v2"), end: "failed"}, {open: v("v2", "v3"), end: "crash"}, {open: v("v2"), end: "failed"},
		}, v("v2"), 3},
		{"a clean stop between", []life{
			{open: v("v1"), end: "failed"}, {open: v("v1"), end: "failed"}, {end: "clean"}, {open: v("v1"), end: "failed"},
		}, nil, 1},
		{"a memory that was made between", []life{
			{open: v("v1"), end: "failed"}, {open: v("v1"), end: "failed"}, {made: v("v1"), open: v("v2"), end: "failed"}, {open: v("v1"), end: "failed"},
		}, nil, 4},
		{"a storm of kills in the same memory", times(500, life{open: v("v1"), end: "kill", after: time.Second}), nil, 0},
		{"slow kills at other work", times(500, life{end: "kill", after: time.Minute}), nil, 0},
		{"slow kills of which one is at other work", slices.Concat(
			times(maxKills-1, life{open: v("v1"), end: "kill", after: time.Minute}), times(1, life{end: "kill", after: time.Minute}),
			times(maxKills-1, life{open: v("v1"), end: "kill", after: time.Minute}),
		), nil, 0},
		{"slow kills in the same memory, one after the other", times(maxKills, life{open: v("v1"), end: "kill", after: time.Minute}), v("v1"), 0},
		{"kills for lack of memory", times(maxShort, life{open: v("v1"), end: "short", after: time.Second}), v("v1"), 0},
		{"one too few of them", times(maxShort-1, life{open: v("v1"), end: "short", after: time.Minute}), nil, 0},
		{"lack of memory while no memory is made", times(100, life{end: "short"}), nil, 0},
		{"lack of memory at a clean end", times(100, life{open: v("v1"), end: "clean"}), nil, 0},
		{"kills for lack of memory between crashes", slices.Concat(
			times(2, life{open: v("v1"), end: "crash"}), times(maxShort-2, life{open: v("v1"), end: "short", after: time.Second}),
		), v("v1"), 2},
		{"kills at once between deaths say nothing", slices.Concat(
			times(2, life{open: v("v1"), end: "failed"}), times(100, life{end: "kill", after: time.Second}), times(1, life{open: v("v1"), end: "failed"}),
		), v("v1"), 3},
		{"who is held stays so", append(times(3, life{open: v("v1"), end: "failed"}), life{end: "clean"}, life{end: "kill"}, life{end: "clean"}), v("v1"), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			held, deaths := heldAfter(c.lives)
			if !slices.Equal(held, c.held) || deaths != c.deaths {
				t.Errorf("held are %v after %d deaths, want %v after %d", held, deaths, c.held, c.deaths)
			}
		})
	}
}

func TestTheNoteOutlivesTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "starts")
	log := slog.New(slog.DiscardHandler)
	for range 3 {
		s := beginStarts(path, false, log)
		s.open("v1")
		s.open("v2")
		s.cleared("v1")
		s.end(errors.New(strings.Repeat("long ", 1000)))
	}
	s := beginStarts(path, false, log)
	if held := s.held(); len(held) != 1 || !strings.Contains(held["v2"], "3 kernels in a row died") {
		t.Errorf("held are %v, want v2", held)
	}
	if !s.isCareful() || s.deaths() != 3 {
		t.Errorf("after %d deaths, careful: %t", s.deaths(), s.isCareful())
	}
	s.step("v3")
	s.leave() // it is killed
	s = beginStarts(path, false, log)
	s.release("v2")
	s.ranWell()
	s.step("v3")
	s.end(nil)
	s = beginStarts(path, false, log)
	if len(s.held()) > 0 || s.isCareful() || len(s.note.Suspects) > 0 {
		t.Errorf("after a clean stop the note is %+v", s.note)
	}
	for i := range 10 * maxNoted { // more than are noted
		s.open(kernel.VatID("v" + strings.Repeat("9", 15) + string(rune('0'+i%10)) + string(rune('a'+i/10%26))))
	}
	if n := len(s.note.encode()); n > noteBytes {
		t.Errorf("the note has %d bytes", n)
	}
	s.leave()
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v", info.Mode(), err)
	}
}

// The note is a help only: the kernel starts with any content of the file.
func TestANoteThatCannotBeReadIsNone(t *testing.T) {
	dir := t.TempDir()
	log := slog.New(slog.DiscardHandler)
	whole := note{Held: map[kernel.VatID]string{"v1": "why"}}.encode()
	for name, text := range map[string]string{
		"empty": "", "zeros": strings.Repeat("\x00", 600), "cut": whole[:len(whole)-5], "altered": strings.Replace(whole, "v1", "v2", 1),
		"large": strings.Repeat("x", 1<<20), "newer": strings.Replace(whole, "starts 1", "starts 2", 1),
	} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := beginStarts(path, true, log)
		if len(s.held()) > 0 || s.deaths() > 0 {
			t.Errorf("%s: the note is %+v", name, s.note)
		}
		s.leave() // it is killed
		if s = beginStarts(path, true, log); s.deaths() != 1 {
			t.Errorf("%s: then the note is %+v, want one death", name, s.note)
		}
		s.end(nil)
	}
	for _, path := range []string{dir, filepath.Join(dir, "none", "starts")} {
		if s := beginStarts(path, true, log); s != nil {
			t.Errorf("there is a note at %s", path)
		}
	}
	var none *starts
	none.open("v1")
	none.step("v1")
	none.cleared("v1")
	none.release("v1")
	none.ranWell()
	none.end(nil)
}

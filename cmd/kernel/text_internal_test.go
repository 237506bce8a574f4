package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPreface(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"", nil},
		{"{}\n// not at the top", nil},
		{"\uFEFF\n\n// one\n//two\n//   indented\n{", []string{"one", "two", "  indented"}},
		{"// one\n\n// another block\n{", []string{"one"}},
		{"//\r\n// dos\r\n{", []string{"", "dos"}},
	} {
		if diff := cmp.Diff(test.want, preface([]byte(test.text))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.text, diff)
		}
	}
}

func TestText(t *testing.T) {
	for _, test := range []struct{ name, got, want string }{
		{"letters", printable("Größe 3 ✓"), "Größe 3 ✓"},
		{"escape", printable("a\x1b[31m\nb\x7f"), `a\x1b[31m\nb\x7f`},
		{"direction", printable("a\u202eb"), `a\u202eb`},
		{"no UTF-8", printable("a\xffb\xc3"), `a\xffb\xc3`},
		{"the mark of what was no UTF-8", printable("\ufffd"), "\ufffd"},
		{"error of two lines", printableError("one\nkernel: two\x1b\n"), "one\n  kernel: two\\x1b"},
		{"C1 control in JSON", string(printableJSON([]byte("\"a\u009b31m\""))), `"a\u009b31m"`},
		{"direction in JSON", string(printableJSON([]byte("[\"\u202e\u2066x\"]"))), `["\u202e\u2066x"]`},
		{"delete in JSON", string(printableJSON([]byte("\"\x7f\""))), `"\u007f"`},
		{"tag above the first plane in JSON", string(printableJSON([]byte("\"\U000e0041\""))), `"\udb40\udc41"`},
		{"letters in JSON", string(printableJSON([]byte("\"Größe 😀\""))), "\"Größe 😀\""},
		{"safe word", shellQuote("/a/b-c_1.json"), "/a/b-c_1.json"},
		{"space", shellQuote("a b"), "'a b'"},
		{"quote", shellQuote("it's"), `'it'\''s'`},
		{"empty", shellQuote(""), "''"},
		{"no memory", size(0), "-"},
		{"small", size(1), "1 KiB"},
		{"middle", size(12<<20 + 1<<19), "12.5 MiB"},
		{"large", size(3 << 30), "3.0 GiB"},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, test.got, test.want)
		}
	}
	want := []string{"send", "s1", "add", " -5", "--timeout", "1s", "-x", "-", "-1s"}
	if diff := cmp.Diff(want, numbersAreNoFlags([]string{"send", "s1", "add", "-5", "--timeout", "1s", "-x", "-", "-1s"})); diff != "" {
		t.Errorf("numbers (-want +got):\n%s", diff)
	}
}

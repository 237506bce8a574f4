package supervisor

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "plain é", "a\nb\x1b[2J", "\xff\xfe", "\u202e", "tab\t", strings.Repeat("é", 200)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := clean(s, 100)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) {
			t.Errorf("%q becomes %q", s, got)
		}
		if len(got) > 1100 {
			t.Errorf("%d bytes become %d", len(s), len(got))
		}
	})
}

func TestCleanLeavesPlainTextAlone(t *testing.T) {
	for _, s := range []string{"", "plain", `"é" ☺ 漢`} {
		if got := clean(s, 100); got != s {
			t.Errorf("%q becomes %q", s, got)
		}
	}
}

func TestFieldNamesAreNotOurs(t *testing.T) {
	for key, want := range map[string]string{
		"vat": "its_vat", "name": "its_name", "": "its_", "a b\n=": "a_b__", "é": "_", "answer": "answer",
	} {
		if got := fieldName(key); got != want {
			t.Errorf("%q becomes %q, want %q", key, got, want)
		}
	}
}

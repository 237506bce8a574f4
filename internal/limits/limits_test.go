package limits_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/limits"
)

func TestCaveatsShowTheTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/caveats.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- limits: begin, from internal/limits/table.go -->\n")
	got, _, _ := strings.Cut(rest, "<!-- limits: end -->")
	want := limits.Markdown()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the limits in docs/caveats.md (-want +got):\n%s\nput this between the markers:\n%s", diff, want)
	}
}

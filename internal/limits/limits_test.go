package limits_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/limits"
)

// Each table of limits in a document is the one that is made of the constants.
func TestDocumentsShowTheTables(t *testing.T) {
	for _, table := range limits.Tables() {
		text, err := os.ReadFile(filepath.Join("../../docs", table.Document))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "<!-- limits: begin, "+table.Name+" of internal/limits/table.go -->\n")
		got, _, _ := strings.Cut(rest, "<!-- limits: end -->")
		want := table.Markdown()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the limits in docs/%s (-want +got):\n%s\nput this between the markers of %s:\n%s", table.Document, diff, table.Name, want)
		}
	}
}

package archtest_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/archtest"
)

const root = "../.."

func TestArchitectureShowsTheTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- imports: begin, from internal/archtest/table.go -->\n")
	got, _, _ := strings.Cut(rest, "<!-- imports: end -->")
	want := archtest.Markdown(archtest.Table())
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Errorf("the import table in ARCHITECTURE.md is not that of table.go (-want +got):\n%s\nput this between its markers:\n%s", diff, want)
	}
}

// The documents speak of files: those exist.
func TestDocumentsNameWhatIsThere(t *testing.T) {
	var docs []string
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		docs = append(docs, found...)
	}
	link := regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)
	source := regexp.MustCompile("`([a-z]+(?:/[a-z_0-9]+)+\\.(?:go|md|json|txt))`")
	for _, doc := range docs {
		text, err := os.ReadFile(doc)
		if err != nil {
			t.Fatal(err)
		}
		check := func(dir, name string) {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("%s names %s, which is not there", strings.TrimPrefix(doc, root+"/"), name)
			}
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			check(filepath.Dir(doc), string(m[1]))
		}
		for _, m := range source.FindAllSubmatch(text, -1) {
			check(root, string(m[1]))
		}
	}
}

package archtest_test

import (
	"io/fs"
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

// The documents speak of files and tests: those exist.
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
	test := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9_]*)`")
	there := tests(t)
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
		for _, m := range test.FindAllSubmatch(text, -1) {
			if !there[string(m[1])] {
				t.Errorf("%s names %s, which is not there", strings.TrimPrefix(doc, root+"/"), m[1])
			}
		}
	}
}

// tests returns the names of all tests, fuzz targets and benchmarks.
func tests(t *testing.T) map[string]bool {
	names := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z]\w*)\(`)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range function.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// The glossary is short enough to be read, explains each word once, and only words that are in use.
func TestGlossaryIsOneWordAThing(t *testing.T) {
	glossary := filepath.Join(root, "docs", "glossary.md")
	text, err := os.ReadFile(glossary)
	if err != nil {
		t.Fatal(err)
	}
	var rows int
	words := map[string]bool{}
	for row := range strings.Lines(string(text)) {
		if !strings.HasPrefix(row, "| **") {
			continue
		}
		rows++
		for _, m := range regexp.MustCompile(`\*\*([^*]+)\*\*`).FindAllStringSubmatch(row, -1) {
			if words[m[1]] {
				t.Errorf("docs/glossary.md explains %q twice", m[1])
			}
			words[m[1]] = true
		}
	}
	if rows == 0 || rows >= 60 {
		t.Errorf("docs/glossary.md has %d rows, want fewer than 60", rows)
	}
	var elsewhere strings.Builder
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return fs.SkipDir
		case path == glossary || filepath.Ext(path) != ".go" && filepath.Ext(path) != ".md":
			return nil
		}
		source, err := os.ReadFile(path)
		elsewhere.Write(source)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	used := strings.ToLower(elsewhere.String())
	for word := range words {
		if !strings.Contains(used, word) {
			t.Errorf("docs/glossary.md explains %q, which is used nowhere else", word)
		}
	}
}

package control

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every method is in docs/control.md. (Of the codes a test of package errcode says so.)
func TestDocumentNamesEveryMethod(t *testing.T) {
	read := func(path string) string {
		t.Helper()
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	doc := read("../docs/control.md")
	constant := regexp.MustCompile(`(?m)^\tmethod\w+ .*= "(\w+)"$`)
	found := constant.FindAllStringSubmatch(read("dispatch.go"), -1)
	if len(found) < 30 {
		t.Fatalf("found %d names, want those of the methods", len(found))
	}
	for _, m := range found {
		if !strings.Contains(doc, "`"+m[1]+"`") {
			t.Errorf("docs/control.md does not say anything about %s", m[1])
		}
	}
}

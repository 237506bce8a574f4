package errcode_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/errcode"
)

func TestTheTableHasEachCode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "errcode.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared, listed []string
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, v := range spec.Values {
				code, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				if err != nil {
					t.Fatal(err)
				}
				declared = append(declared, code)
			}
		}
		return true
	})
	for _, e := range errcode.Table() {
		listed = append(listed, string(e.Code))
		if e.Means == "" || e.Do == "" {
			t.Errorf("%s: what it means, and what to do, are not both told", e.Code)
		}
		if e.Code.IsRejection() != e.Rejects {
			t.Errorf("%s: IsRejection is not what the table says", e.Code)
		}
	}
	if diff := cmp.Diff(declared, listed); diff != "" {
		t.Errorf("declared and listed (-declared +listed):\n%s", diff)
	}
	if slices.Sort(listed); len(slices.Compact(listed)) != len(declared) {
		t.Error("a code is listed twice")
	}
}

func TestTheProtocolsDocumentShowsTheTable(t *testing.T) {
	text, err := os.ReadFile("../docs/control.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, rejects := range map[string]bool{"requests": false, "rejections": true} {
		_, rest, _ := strings.Cut(string(text), "<!-- codes of "+name+": begin, from errcode/errcode.go -->\n")
		got, _, _ := strings.Cut(rest, "<!-- codes of "+name+": end -->")
		want := errcode.Markdown(rejects)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("codes of %s in docs/control.md (-want +got):\n%s\nput this between the markers:\n%s", name, diff, want)
		}
	}
}

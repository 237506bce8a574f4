package e2e_test

import (
	"bytes"
	"debug/elf"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ocapkernel.dev/internal/fault"
)

// pointNames returns the constants of package fault that name points, with the names.
func pointNames(t *testing.T) map[string]fault.Name {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../internal/fault/names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]fault.Name{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		for i, name := range spec.Names {
			text, err := strconv.Unquote(spec.Values[i].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			names[name.Name] = fault.Name(text)
		}
		return false
	})
	if len(names) == 0 {
		t.Fatal("there are no points")
	}
	return names
}

// Each point has a name, and a place, of its own.
func TestEachFaultPointHasOnePlace(t *testing.T) {
	t.Parallel()
	places := map[string][]string{}
	fset := token.NewFileSet()
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				if of, ok := sel.X.(*ast.Ident); ok && of.Name == "fault" {
					places[sel.Sel.Name] = append(places[sel.Sel.Name], fset.Position(sel.Pos()).String())
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	named := map[fault.Name]string{}
	for constant, name := range pointNames(t) {
		if len(places[constant]) != 1 {
			t.Errorf("%s is passed at %q, want one place", constant, places[constant])
		}
		if other := named[name]; other != "" {
			t.Errorf("%s and %s are both %q", constant, other, name)
		}
		named[name] = constant
	}
}

// The programs that are released have no fault points: no function of package fault is linked, and no name of a point.
func TestReleasedProgramsHaveNoFaultPoints(t *testing.T) {
	t.Parallel()
	dir, err := faulty()
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range commands {
		name := filepath.Base(program)
		if released := faultsIn(t, filepath.Join(built, name)); len(released) > 0 {
			t.Errorf("%s has %q", name, released)
		}
		if tested := faultsIn(t, filepath.Join(dir, name)); len(tested) == 0 {
			t.Errorf("%s has none with the tag faults", name)
		}
	}
}

// faultsIn returns what a program has of package fault.
func faultsIn(t *testing.T, path string) (found []string) {
	t.Helper()
	program, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	symbols, err := program.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range symbols {
		if strings.Contains(s.Name, "internal/fault.") {
			found = append(found, s.Name)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pointNames(t) {
		if strings.Contains(string(name), "-") && bytes.Contains(text, []byte(name)) { // others are words of prose
			found = append(found, string(name))
		}
	}
	return found
}

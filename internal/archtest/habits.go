package archtest

import (
	"bytes"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MaxLines is the length above which a file has a second idea.
const MaxLines = 600

// Habits checks how packages and files are kept: names with a meaning, a comment on each package, no work at
// start-up, tests that do not sleep and test from outside, and files of a readable length.
func (m *Module) Habits() (problems []Problem) {
	for _, p := range m.Packages {
		for _, name := range []string{p.Name, filepath.Base(p.dir)} {
			if slices.Contains([]string{"util", "utils", "common", "types", "helper", "helpers", "misc"}, name) {
				problems = append(problems, Problem{File: p.Path, Text: "a package is named after what it gives, not " + name})
				break
			}
		}
		if len(p.files) > 0 && !slices.ContainsFunc(p.files, func(f *ast.File) bool { return f.Doc != nil }) {
			problems = append(problems, Problem{File: p.Path, Text: "the package has no comment: say what it is and how it is used, in doc.go or the file of its main type"})
		}
		for _, f := range p.files {
			problems = append(problems, m.startUp(f)...)
			if strings.HasSuffix(p.Name, "test") { // helps tests
				problems = append(problems, m.sleeps(f)...)
			}
		}
		for _, f := range p.tests {
			problems = append(problems, m.startUp(f)...)
			problems = append(problems, m.sleeps(f)...)
			inside := !strings.HasSuffix(f.Name.Name, "_test")
			if named := strings.HasSuffix(m.fset.Position(f.Pos()).Filename, "_internal_test.go"); inside != named && len(p.files) > 0 {
				problems = append(problems, m.problem(f.Name.Pos(), "a test is of package %[1]s_test, or its file is named …_internal_test.go and it is of package %[1]s", p.Name))
			}
		}
	}
	return append(problems, m.longFiles()...)
}

// startUp finds code that runs by itself when the program starts.
func (m *Module) startUp(f *ast.File) (problems []Problem) {
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
			problems = append(problems, m.problem(fn.Pos(), "no init: a constructor takes what it needs, and cmd wires it"))
		}
	}
	for _, spec := range f.Imports {
		// embed registers nothing: go:embed needs the import.
		if spec.Name != nil && spec.Name.Name == "_" && spec.Path.Value != `"embed"` {
			problems = append(problems, m.problem(spec.Pos(), "no import for its side effects: pass what it registers to whoever needs it"))
		}
	}
	return problems
}

// sleeps finds uses of time.Sleep. Tests are parsed and not type-checked, so it goes by the name under
// which the file imports time, which nothing in this module shadows.
func (m *Module) sleeps(f *ast.File) (problems []Problem) {
	name := ""
	for _, spec := range f.Imports {
		if path, err := strconv.Unquote(spec.Path.Value); err == nil && path == "time" {
			name = "time"
			if spec.Name != nil {
				name = spec.Name.Name
			}
		}
	}
	if name == "" {
		return nil
	}
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || sel.Sel.Name != "Sleep" {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
			problems = append(problems, m.problem(sel.Pos(), "a test does not sleep: wait for what it waits for, or make time virtual with testing/synctest"))
		}
		return true
	})
	return problems
}

// longFiles reads the files itself, not through the go command: with these files and the directories it reads,
// go test knows when a cached result is stale.
func (m *Module) longFiles() (problems []Problem) {
	err := filepath.WalkDir(m.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != m.Dir && (name == "testdata" || strings.HasPrefix(name, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if n := bytes.Count(text, []byte("\n")); n > MaxLines && !bytes.HasPrefix(text, []byte("// Code generated ")) {
			problems = append(problems, Problem{File: m.relative(path), Text: strconv.Itoa(n) + " lines: above " + strconv.Itoa(MaxLines) + " there is a second idea; give it a file"})
		}
		return nil
	})
	if err != nil {
		problems = append(problems, Problem{File: ".", Text: "read the module: " + err.Error()})
	}
	return problems
}

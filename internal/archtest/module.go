package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Module is a Go module, parsed and type-checked.
type Module struct {
	Dir string
	// Packages are the module's own packages, each after its imports.
	Packages []*Package

	fset *token.FileSet
	path string
	// imports are the direct imports of every package that is linked into one of the module's, without tests.
	imports map[string][]string
}

// Package is one package of the module.
type Package struct {
	// Path is the import path below the module's, with slashes; "." for the module's root.
	Path string
	Name string

	dir   string
	full  string
	files []*ast.File // without tests
	tests []*ast.File
	types *types.Package
	info  *types.Info
}

// A Problem is a breach of a rule, and the way to mend it.
type Problem struct {
	// File is relative to the module's directory; Line is 0 if the problem has no line.
	File string
	Line int
	Text string
}

func (p Problem) String() string {
	if p.Line == 0 {
		return p.File + ": " + p.Text
	}
	return fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Text)
}

// listed is the output of `go list` for a package.
type listed struct {
	Dir, ImportPath, Name, Export      string
	GoFiles, TestGoFiles, XTestGoFiles []string
	Imports                            []string
	Module                             *struct{ Path, Dir string }
	Error                              *struct{ Err string }
}

// Load reads the module that dir lies in. It runs the go command, which compiles missing packages.
func Load(dir string) (*Module, error) {
	cmd := exec.Command("go", "list", "-deps", "-export",
		"-json=Dir,ImportPath,Name,Export,GoFiles,TestGoFiles,XTestGoFiles,Imports,Module,Error", "./...")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, stderr.Bytes())
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	m := &Module{Dir: root, fset: token.NewFileSet(), imports: map[string][]string{}}
	exports := map[string]string{}
	ours := map[string]*types.Package{}
	theirs := importer.ForCompiler(m.fset, "gc", func(path string) (io.ReadCloser, error) {
		if exports[path] == "" {
			return nil, fmt.Errorf("no export data of %s", path)
		}
		return os.Open(exports[path])
	})
	find := importFunc(func(path string) (*types.Package, error) {
		if p := ours[path]; p != nil {
			return p, nil
		}
		return theirs.Import(path)
	})
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var l listed
		if err := dec.Decode(&l); errors.Is(err, io.EOF) {
			return m, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		if l.Error != nil {
			return nil, fmt.Errorf("package %s: %s", l.ImportPath, l.Error.Err)
		}
		exports[l.ImportPath] = l.Export
		m.imports[l.ImportPath] = l.Imports
		if l.Module == nil || l.Module.Dir != root {
			continue
		}
		m.path = l.Module.Path
		p, err := m.load(l, find)
		if err != nil {
			return nil, err
		}
		ours[l.ImportPath] = p.types
		m.Packages = append(m.Packages, p)
	}
}

type importFunc func(path string) (*types.Package, error)

func (f importFunc) Import(path string) (*types.Package, error) { return f(path) }

func (m *Module) load(l listed, imports types.Importer) (*Package, error) {
	p := &Package{Path: m.short(l.ImportPath), Name: l.Name, dir: l.Dir, full: l.ImportPath}
	parse := func(names ...string) (files []*ast.File, err error) {
		for _, name := range names {
			f, err := parser.ParseFile(m.fset, filepath.Join(l.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			files = append(files, f)
		}
		return files, nil
	}
	var err error
	if p.files, err = parse(l.GoFiles...); err != nil {
		return nil, err
	}
	if p.tests, err = parse(append(l.TestGoFiles, l.XTestGoFiles...)...); err != nil {
		return nil, err
	}
	p.info = &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{}, Defs: map[*ast.Ident]types.Object{}, Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{Importer: imports}
	if p.types, err = conf.Check(l.ImportPath, m.fset, p.files, p.info); err != nil {
		return nil, fmt.Errorf("type-check %s: %w", l.ImportPath, err)
	}
	return p, nil
}

// short returns an import path below the module's path. It returns other paths as they are.
func (m *Module) short(path string) string {
	if path == m.path {
		return "."
	}
	return strings.TrimPrefix(path, m.path+"/")
}

// own reports whether an import path is of this module.
func (m *Module) own(path string) bool { return path == m.path || strings.HasPrefix(path, m.path+"/") }

func (m *Module) problem(pos token.Pos, format string, args ...any) Problem {
	at := m.fset.Position(pos)
	return Problem{File: m.relative(at.Filename), Line: at.Line, Text: fmt.Sprintf(format, args...)}
}

func (m *Module) relative(name string) string {
	if rel, err := filepath.Rel(m.Dir, name); err == nil {
		return filepath.ToSlash(rel)
	}
	return name
}

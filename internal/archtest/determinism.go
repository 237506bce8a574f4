package archtest

import (
	"go/ast"
	"go/types"
	"strconv"
	"strings"
)

// Determinism checks the packages that the table calls pure. Their behaviour must follow from their inputs
// alone: they start no goroutine, wait for nothing, and read no clock, dice, file or log; and since the order
// of a map is random, they never range over one, also not by way of package maps.
func (m *Module) Determinism(table []Row) (problems []Problem) {
	for _, p := range m.Packages {
		if row, ok := rowOf(table, p.Path); !ok || !row.Pure {
			continue
		}
		for _, f := range p.files {
			for _, spec := range f.Imports {
				if path, err := strconv.Unquote(spec.Path.Value); err == nil && impure(path) {
					problems = append(problems, m.problem(spec.Pos(), "%s is deterministic and may not import %s: "+
						"take what it would give as an argument, or do it in the caller", p.Path, path))
				}
			}
			problems = append(problems, m.impurities(p, f)...)
		}
	}
	return problems
}

// impure reports whether a package of std, or hclog, provides something that a deterministic package must not
// have.
func impure(path string) bool {
	for _, tree := range []string{
		"context", "crypto/rand", "io/ioutil", hclog, "log", "math/rand", "net", "os", "runtime", "sync", "syscall",
		"testing", "time", "unsafe",
	} {
		if path == tree || strings.HasPrefix(path, tree+"/") {
			return true
		}
	}
	return false
}

func (m *Module) impurities(p *Package, f *ast.File) (problems []Problem) {
	// sorted are the uses of package maps whose result is sorted at once.
	sorted := map[ast.Expr]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			problems = append(problems, m.problem(n.Pos(), "%s is deterministic and starts no goroutine: return a value that the caller acts upon", p.Path))
		case *ast.SelectStmt:
			problems = append(problems, m.problem(n.Pos(), "%s is deterministic and waits for nothing: select belongs into the caller", p.Path))
		case *ast.RangeStmt:
			if _, isMap := core(p.info.TypeOf(n.X)).(*types.Map); isMap {
				problems = append(problems, m.problem(n.Pos(), "the order of a map is random: range over slices.Sorted(maps.Keys(…)), or keep a slice"))
			}
		case *ast.CallExpr:
			if pkg, name := p.callee(n); pkg == "slices" && strings.HasPrefix(name, "Sorted") {
				for _, arg := range n.Args {
					sorted[ast.Unparen(arg)] = true
				}
			}
			switch pkg, name := p.callee(n); {
			case pkg != "maps" || sorted[n]:
			case name == "Keys" || name == "Values" || name == "All":
				problems = append(problems, m.problem(n.Pos(), "the order of maps.%s is random: pass it to slices.Sorted or slices.SortedFunc at once", name))
			}
		}
		return true
	})
	return problems
}

// callee returns the package and name of the package-level function that a call names; both are empty if it
// calls something else.
func (p *Package) callee(call *ast.CallExpr) (pkg, name string) {
	fun := ast.Unparen(call.Fun)
	if x, ok := fun.(*ast.IndexExpr); ok {
		fun = x.X
	}
	var id *ast.Ident
	switch fun := fun.(type) {
	case *ast.Ident:
		id = fun
	case *ast.SelectorExpr:
		id = fun.Sel
	default:
		return "", ""
	}
	f, ok := p.info.Uses[id].(*types.Func)
	if !ok || f.Pkg() == nil || f.Signature().Recv() != nil {
		return "", ""
	}
	return f.Pkg().Path(), f.Name()
}

// core returns the type that decides how a value of t is ranged over: for a type parameter, the underlying type
// of its constraint.
func core(t types.Type) types.Type {
	if t == nil {
		return nil
	}
	if param, ok := t.(*types.TypeParam); ok {
		for i := range param.Constraint().Underlying().(*types.Interface).NumEmbeddeds() {
			if u, ok := param.Constraint().Underlying().(*types.Interface).EmbeddedType(i).(*types.Union); ok && u.Len() > 0 {
				return u.Term(0).Type().Underlying()
			}
		}
	}
	return t.Underlying()
}

package archtest

import (
	"go/ast"
	"go/token"
	"go/types"
)

// Globals finds assignments to variables of packages: such a variable is set where it is declared, and never
// again. State that changes has an owner, and is passed to the functions that need it.
func (m *Module) Globals() (problems []Problem) {
	for _, p := range m.Packages {
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				var targets []ast.Expr
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok != token.DEFINE {
						targets = n.Lhs
					}
				case *ast.IncDecStmt:
					targets = []ast.Expr{n.X}
				}
				for _, x := range targets {
					if v := p.global(x); v != nil && !replaced(p, v) {
						problems = append(problems, m.problem(x.Pos(), "%s is a global that changes: make it a field of what owns it, and pass that", v.Name()))
					}
				}
				return true
			})
		}
	}
	return problems
}

// replaced reports whether a package may set a variable of a foreign package, because there is no other
// way. Badger renders one error where a block is damaged, and reports the damage nowhere else. go-plugin prints its
// handshake on os.Stdout, and then puts pipes in the place of os.Stdout and os.Stderr.
func replaced(p *Package, v *types.Var) bool {
	switch p.Path {
	case "storage/badgerstore":
		return v.Pkg().Path() == "github.com/dgraph-io/badger/v4/y" && v.Name() == "ErrChecksumMismatch"
	case "vat/grpcvat":
		return v.Pkg().Path() == "os" && (v.Name() == "Stdout" || v.Name() == "Stderr")
	}
	return false
}

// global returns the package's variable that an assignment to x changes, or nil.
func (p *Package) global(x ast.Expr) *types.Var {
	for {
		switch e := ast.Unparen(x).(type) {
		case *ast.IndexExpr:
			x = e.X
		case *ast.StarExpr:
			x = e.X
		case *ast.SelectorExpr:
			if _, field := p.info.Selections[e]; field {
				x = e.X
				continue
			}
			x = e.Sel // of another package
		case *ast.Ident:
			v, ok := p.info.Uses[e].(*types.Var)
			if !ok || v.Pkg() == nil || v.Parent() != v.Pkg().Scope() {
				return nil
			}
			return v
		default:
			return nil
		}
	}
}

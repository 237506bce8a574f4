package archtest

import (
	"go/ast"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// ClosedSets checks every type switch outside of tests over a closed set: an interface of this module with an
// unexported method, which only types of its own package can have. The switch names each of the types, or has a
// default that panics or returns an error. So the author of a new type learns of all switches that would pass
// over it in silence.
//
// names are the interfaces that must be closed sets, so that the rule does not vanish with a change of one of
// them.
func (m *Module) ClosedSets(names ...string) (problems []Problem) {
	sets := m.closedSets()
	for _, name := range names {
		found := false
		for set := range sets {
			found = found || m.nameOf(set) == name
		}
		if !found {
			problems = append(problems, Problem{File: name, Text: "is no closed set: give the interface an unexported method, and types that have it"})
		}
	}
	for _, p := range m.Packages {
		for _, f := range p.files {
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := n.(*ast.TypeSwitchStmt); ok {
					problems = append(problems, m.typeSwitch(p, s, sets)...)
				}
				return true
			})
		}
	}
	return problems
}

func (m *Module) nameOf(t *types.TypeName) string { return m.short(t.Pkg().Path()) + "." + t.Name() }

// closedSets returns the closed sets of the module and the members of each: T, or *T if only that has the
// method.
func (m *Module) closedSets() map[*types.TypeName][]types.Type {
	sets := map[*types.TypeName][]types.Type{}
	for _, p := range m.Packages {
		scope := p.types.Scope()
		for _, name := range scope.Names() {
			set, ok := scope.Lookup(name).(*types.TypeName)
			if !ok || set.IsAlias() {
				continue
			}
			iface, ok := set.Type().Underlying().(*types.Interface)
			if !ok || !closed(iface) {
				continue
			}
			for _, other := range scope.Names() {
				t, ok := scope.Lookup(other).(*types.TypeName)
				if !ok || t.IsAlias() || types.IsInterface(t.Type()) {
					continue
				}
				if named, ok := t.Type().(*types.Named); !ok || named.TypeParams().Len() > 0 {
					continue
				}
				switch {
				case types.Implements(t.Type(), iface):
					sets[set] = append(sets[set], t.Type())
				case types.Implements(types.NewPointer(t.Type()), iface):
					sets[set] = append(sets[set], types.NewPointer(t.Type()))
				}
			}
		}
	}
	return sets
}

// closed reports whether an interface has an unexported method.
func closed(iface *types.Interface) bool {
	for method := range iface.Methods() {
		if !method.Exported() {
			return true
		}
	}
	return false
}

func (m *Module) typeSwitch(p *Package, s *ast.TypeSwitchStmt, sets map[*types.TypeName][]types.Type) []Problem {
	named, ok := types.Unalias(p.info.TypeOf(switched(s))).(*types.Named)
	if !ok {
		return nil
	}
	members := sets[named.Obj()]
	if len(members) == 0 {
		return nil
	}
	missing := map[string]bool{}
	for _, t := range members {
		missing[types.TypeString(t, types.RelativeTo(p.types))] = true
	}
	for _, clause := range s.Body.List {
		clause := clause.(*ast.CaseClause)
		if clause.List == nil && p.refuses(clause.Body) {
			return nil
		}
		for _, expr := range clause.List {
			t := p.info.TypeOf(expr)
			delete(missing, types.TypeString(t, types.RelativeTo(p.types)))
			// A case of an interface stands for all types that implement it.
			if iface, ok := t.Underlying().(*types.Interface); ok {
				for _, member := range members {
					if types.Implements(member, iface) {
						delete(missing, types.TypeString(member, types.RelativeTo(p.types)))
					}
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	list := slices.Sorted(maps.Keys(missing))
	for i := range list {
		list[i] = strings.ReplaceAll(list[i], m.path+"/", "")
	}
	return []Problem{m.problem(s.Pos(), "the switch over the closed set %s does not name %s: add the cases, or a default that panics or returns an error",
		m.nameOf(named.Obj()), strings.Join(list, ", "))}
}

// switched returns the expression whose type is switched over.
func switched(s *ast.TypeSwitchStmt) ast.Expr {
	var x ast.Expr
	switch a := s.Assign.(type) {
	case *ast.AssignStmt:
		x = a.Rhs[0]
	case *ast.ExprStmt:
		x = a.X
	}
	return ast.Unparen(x).(*ast.TypeAssertExpr).X
}

// refuses reports whether the last statement of a body is a panic, or the return of an error.
func (p *Package) refuses(body []ast.Stmt) bool {
	if len(body) == 0 {
		return false
	}
	switch stmt := body[len(body)-1].(type) {
	case *ast.ExprStmt:
		if call, ok := stmt.X.(*ast.CallExpr); ok {
			id, ok := call.Fun.(*ast.Ident)
			return ok && p.info.Uses[id] == types.Universe.Lookup("panic")
		}
	case *ast.ReturnStmt:
		if n := len(stmt.Results); n > 0 {
			// The type of nil is no error.
			return types.AssignableTo(p.info.TypeOf(stmt.Results[n-1]), types.Universe.Lookup("error").Type()) &&
				!p.info.Types[stmt.Results[n-1]].IsNil()
		}
	}
	return false
}

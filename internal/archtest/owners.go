package archtest

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// Ownership names the types of a package that own its tables.
type Ownership struct {
	// Package is the package's path below the module's.
	Package string
	// Owners are the types whose methods alone change their fields. A type that is not an owner itself, such as the entry of
	// a table, stands with its owner, as "entry of owner".
	Owners []string
	// Whole is the type that has all owners. No other type has a field of it, and no function but Link takes it: the fields of
	// an owner name the owners that it calls.
	Whole string
	// Link is the function that makes the owners, and lets each know the others.
	Link string
}

// Owners checks that each field of an owner has one writer: the methods of the type that owns it, and nothing else in the
// package, assign to it, delete from it or take its address. Another type that needs an entry of a table (a field that is a
// map or a slice) asks the owner for it. Owners also checks that no owner reaches the others through the type that has them all.
func (m *Module) Owners(rules ...Ownership) (problems []Problem) {
	for _, rule := range rules {
		i := slices.IndexFunc(m.Packages, func(p *Package) bool { return p.Path == rule.Package })
		if i < 0 {
			problems = append(problems, Problem{File: rule.Package, Text: "there is no such package: remove its owners from the rules"})
			continue
		}
		p := m.Packages[i]
		fields := map[*types.Var]string{} // field → the type whose methods may change it
		for _, o := range rule.Owners {
			name, owner, isEntry := strings.Cut(o, " of ")
			if !isEntry {
				owner = name
			}
			s := p.structure(name)
			if s == nil {
				problems = append(problems, Problem{File: rule.Package, Text: "there is no type " + name + " with fields: remove it from the owners"})
				continue
			}
			for f := range s.Fields() {
				fields[f] = owner
			}
		}
		problems = append(problems, m.wholes(p, rule)...)
		for _, f := range p.files {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || fn.Body == nil || fn.Recv == nil && fn.Name.Name == rule.Link {
					continue
				}
				problems = append(problems, m.foreignFields(p, fn, fields)...)
			}
		}
	}
	return problems
}

// wholes returns the fields and parameters that are of the type that has all owners.
func (m *Module) wholes(p *Package, rule Ownership) (problems []Problem) {
	whole := p.types.Scope().Lookup(rule.Whole)
	if whole == nil {
		return []Problem{{File: rule.Package, Text: "there is no type " + rule.Whole + " that has all owners: mend the rule"}}
	}
	check := func(list *ast.FieldList, what string) {
		for _, f := range list.List {
			if holds(p.info.TypeOf(f.Type), whole.Type()) {
				problems = append(problems, m.problem(f.Pos(), "%s has all owners, and is no %s: name the owners that are called", rule.Whole, what))
			}
		}
	}
	for _, f := range p.files {
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.StructType:
				check(n.Fields, "field")
			case *ast.FuncDecl:
				if n.Recv != nil || n.Name.Name != rule.Link {
					check(n.Type.Params, "parameter")
				}
			}
			return true
		})
	}
	return problems
}

// holds reports whether a value of type t leads to a whole: it is one, a pointer to one, or a collection or function of those.
func holds(t, whole types.Type) bool {
	if t == nil || types.Identical(t, whole) {
		return t != nil
	}
	switch t := types.Unalias(t).(type) {
	case *types.Pointer:
		return holds(t.Elem(), whole)
	case *types.Slice:
		return holds(t.Elem(), whole)
	case *types.Array:
		return holds(t.Elem(), whole)
	case *types.Chan:
		return holds(t.Elem(), whole)
	case *types.Map:
		return holds(t.Key(), whole) || holds(t.Elem(), whole)
	case *types.Signature:
		for _, list := range []*types.Tuple{t.Params(), t.Results()} {
			for v := range list.Variables() {
				if holds(v.Type(), whole) {
					return true
				}
			}
		}
	}
	return false
}

// structure finds a type of the package that has fields.
func (p *Package) structure(name string) *types.Struct {
	obj := p.types.Scope().Lookup(name)
	if obj == nil {
		return nil
	}
	s, _ := obj.Type().Underlying().(*types.Struct)
	return s
}

// foreignFields returns the places where a function changes a field of another owner, or reads another owner's tables.
func (m *Module) foreignFields(p *Package, fn *ast.FuncDecl, fields map[*types.Var]string) (problems []Problem) {
	self := receiver(fn)
	written := map[ast.Node]bool{}
	write := func(x ast.Expr) {
		if sel, owner := p.owned(x, fields); sel != nil && owner != self {
			written[sel] = true
			problems = append(problems, m.problem(sel.Pos(), "%s is a field of %s, whose methods alone change it: give %s a method that does what is wanted", sel.Sel.Name, owner, owner))
		}
	}
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, x := range n.Lhs {
					write(x)
				}
			}
		case *ast.IncDecStmt:
			write(n.X)
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				write(n.X)
			}
		case *ast.CallExpr:
			if id, ok := ast.Unparen(n.Fun).(*ast.Ident); ok && (id.Name == "delete" || id.Name == "clear") && len(n.Args) > 0 {
				write(n.Args[0])
			}
		}
		return true
	})
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok || written[sel] {
			return true
		}
		v := p.field(sel)
		if owner := fields[v]; v != nil && owner != "" && owner != self && isTable(v.Type()) {
			problems = append(problems, m.problem(sel.Pos(), "%s is a table of %s: ask %s for what is in it, by a method", v.Name(), owner, owner))
		}
		return true
	})
	return problems
}

// isTable reports whether a field holds many things.
func isTable(t types.Type) bool {
	switch t.Underlying().(type) {
	case *types.Map, *types.Slice:
		return true
	}
	return false
}

// receiver is the name of the type that a method is of; empty for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil || len(fn.Recv.List) == 0 {
		return ""
	}
	t := fn.Recv.List[0].Type
	if star, ok := t.(*ast.StarExpr); ok {
		t = star.X
	}
	if index, ok := t.(*ast.IndexExpr); ok { // of a generic type
		t = index.X
	}
	if id, ok := t.(*ast.Ident); ok {
		return id.Name
	}
	return ""
}

// field is the field that a selector selects, nil if it is none.
func (p *Package) field(sel *ast.SelectorExpr) *types.Var {
	s := p.info.Selections[sel]
	if s == nil || s.Kind() != types.FieldVal {
		return nil
	}
	v, _ := s.Obj().(*types.Var)
	return v
}

// owned returns the owner's field that an assignment to x changes, and the owner.
func (p *Package) owned(x ast.Expr, fields map[*types.Var]string) (*ast.SelectorExpr, string) {
	for {
		switch e := ast.Unparen(x).(type) {
		case *ast.IndexExpr:
			if isPointer(p.info.TypeOf(e.X)) {
				return nil, ""
			}
			x = e.X
		case *ast.SelectorExpr:
			if owner := fields[p.field(e)]; owner != "" {
				return e, owner
			}
			if isPointer(p.info.TypeOf(e.X)) {
				return nil, "" // it changes the variable behind the pointer
			}
			x = e.X
		default:
			return nil, ""
		}
	}
}

func isPointer(t types.Type) bool {
	if t == nil {
		return false
	}
	_, ok := t.Underlying().(*types.Pointer)
	return ok
}

package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// Steps describes the loop of a package, and the functions that a step of it must not reach.
type Steps struct {
	// Package is the package's path below the module's.
	Package string
	// Beside are the functions of any package that run a function beside the loop, as a go statement does.
	Beside []string
	// Called are methods that are steps although nothing shows it: they are called through an interface. Every function
	// literal is a step, too, and every function that is used as a value, unless it runs beside the loop.
	Called []string
	// Runs are the functions that run steps: no step may reach them, so that none runs within another one.
	Runs []string
	// Blocks are functions, methods and fields that may block, beyond those of the language and the standard library. A name
	// is "Type.method", of another package "package.Type.method".
	Blocks []string
	// Allowed are the functions that may block although steps reach them, each with its reason.
	Allowed map[string]string
}

// Steps checks that no step reaches a function that runs steps, or one that may block: on a channel, a lock, a file, a
// socket, a process, or by a function that the rule names. It follows calls within the package, if the call names the
// called function.
func (m *Module) Steps(rules ...Steps) (problems []Problem) {
	for _, rule := range rules {
		i := slices.IndexFunc(m.Packages, func(p *Package) bool { return p.Path == rule.Package })
		if i < 0 {
			problems = append(problems, Problem{File: rule.Package, Text: "there is no such package: remove its steps from the rules"})
			continue
		}
		g := &stepGraph{m: m, p: m.Packages[i], rule: rule, decls: map[types.Object]*stepNode{}}
		problems = append(problems, g.problems()...)
	}
	return problems
}

// stepNode is a function, or a function literal.
type stepNode struct {
	name   string
	body   *ast.BlockStmt
	calls  []*stepNode
	blocks []stepBlock
	step   bool // it is a step, whichever function calls it
}

// stepBlock is an expression or statement of a function that may block.
type stepBlock struct {
	pos  token.Pos
	what string
}

type stepGraph struct {
	m     *Module
	p     *Package
	rule  Steps
	decls map[types.Object]*stepNode
	nodes []*stepNode
}

func (g *stepGraph) problems() (problems []Problem) {
	names := map[string]bool{}
	for _, f := range g.p.files {
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
				n := &stepNode{name: fn.Name.Name, body: fn.Body}
				if r := receiver(fn); r != "" {
					n.name = r + "." + n.name
				}
				n.step = slices.Contains(g.rule.Called, n.name)
				names[n.name] = true
				g.decls[g.p.info.Defs[fn.Name]] = n
				g.nodes = append(g.nodes, n)
			}
		}
	}
	for _, n := range slices.Clone(g.nodes) {
		g.read(n)
	}
	for _, name := range slices.Concat(g.rule.Called, g.rule.Runs, slices.Sorted(maps.Keys(g.rule.Allowed))) {
		if !names[name] {
			problems = append(problems, Problem{File: g.rule.Package, Text: "there is no function " + name + ": remove it from the rule about steps"})
		}
	}
	needed := map[string]bool{}
	reached := map[*stepNode]string{}
	for _, root := range g.nodes {
		if root.step && reached[root] == "" {
			problems = append(problems, g.follow(root, root.name, reached, needed)...)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(g.rule.Allowed)) {
		if names[name] && !needed[name] {
			problems = append(problems, Problem{File: g.rule.Package, Text: name + " does not block, or no step reaches it: remove it from the rule about steps"})
		}
	}
	return problems
}

// follow returns the forbidden calls that are reached from a node. chain is the path to the node.
func (g *stepGraph) follow(n *stepNode, chain string, reached map[*stepNode]string, needed map[string]bool) (problems []Problem) {
	reached[n] = chain
	if slices.Contains(g.rule.Runs, n.name) {
		return []Problem{g.m.problem(n.body.Pos(), "%s runs steps, and is reached from a step: %s", n.name, chain)}
	}
	if g.rule.Allowed[n.name] != "" && len(n.blocks) > 0 {
		needed[n.name] = true
	} else {
		for _, b := range n.blocks {
			problems = append(problems, g.m.problem(b.pos, "%s may block, and is reached from a step: %s: run it beside the loop", b.what, chain))
		}
	}
	for _, next := range n.calls {
		if reached[next] == "" {
			problems = append(problems, g.follow(next, chain+" → "+next.name, reached, needed)...)
		}
	}
	return problems
}

// read notes the functions that a function calls, and the places where it may block. Function literals in it are functions
// of their own, unless they are called where they stand.
func (g *stepGraph) read(n *stepNode) {
	here := map[*ast.FuncLit]bool{}   // called where they stand
	beside := map[*ast.FuncLit]bool{} // run beside the loop
	called := map[ast.Expr]bool{}     // functions that are called, and not used as values
	polled := map[ast.Node]bool{}     // communication that does not wait
	var visit func(ast.Node) bool
	visit = func(x ast.Node) bool {
		switch x := x.(type) {
		case *ast.GoStmt:
			if lit, ok := x.Call.Fun.(*ast.FuncLit); ok {
				beside[lit] = true
			} else {
				called[ast.Unparen(x.Call.Fun)] = true
			}
			for _, a := range x.Call.Args {
				ast.Inspect(a, visit)
			}
			if lit, ok := x.Call.Fun.(*ast.FuncLit); ok {
				g.literal(n, lit, false)
			}
			return false
		case *ast.CallExpr:
			fun := ast.Unparen(x.Fun)
			called[fun] = true
			if index, ok := fun.(*ast.IndexExpr); ok { // a generic function
				called[ast.Unparen(index.X)] = true
			}
			if lit, ok := fun.(*ast.FuncLit); ok {
				here[lit] = true
			}
			g.call(n, x, fun)
			if name := g.callee(fun); slices.Contains(g.rule.Beside, name) {
				for _, a := range x.Args {
					if lit, ok := a.(*ast.FuncLit); ok {
						beside[lit] = true
					} else {
						called[ast.Unparen(a)] = true
					}
				}
			}
		case *ast.FuncLit:
			if here[x] {
				return true
			}
			g.literal(n, x, !beside[x])
			return false
		case *ast.SelectStmt:
			if slices.ContainsFunc(x.Body.List, func(s ast.Stmt) bool { return s.(*ast.CommClause).Comm == nil }) {
				for _, s := range x.Body.List {
					if comm := s.(*ast.CommClause).Comm; comm != nil {
						ast.Inspect(comm, func(c ast.Node) bool { polled[c] = true; return true })
					}
				}
			}
		case *ast.SendStmt:
			if !polled[x] {
				n.blocks = append(n.blocks, stepBlock{x.Arrow, "a send"})
			}
		case *ast.UnaryExpr:
			if x.Op == token.ARROW && !polled[x] {
				n.blocks = append(n.blocks, stepBlock{x.OpPos, "a receive"})
			}
		case *ast.RangeStmt:
			if t := g.p.info.TypeOf(x.X); t != nil {
				if _, ok := t.Underlying().(*types.Chan); ok {
					n.blocks = append(n.blocks, stepBlock{x.For, "a receive"})
				}
			}
		case *ast.SelectorExpr:
			if !called[x] {
				g.value(x.Sel)
			}
			called[x.Sel] = true
		case *ast.Ident:
			if !called[x] {
				g.value(x)
			}
		}
		return true
	}
	ast.Inspect(n.body, visit)
}

// literal takes a function literal for a function of its own.
func (g *stepGraph) literal(in *stepNode, lit *ast.FuncLit, step bool) {
	n := &stepNode{name: fmt.Sprintf("a function in %s", in.name), body: lit.Body, step: step}
	g.nodes = append(g.nodes, n)
	g.read(n)
}

// value notes that a function of the package is used as a value: its caller runs in a step.
func (g *stepGraph) value(id *ast.Ident) {
	if fn, ok := g.p.info.Uses[id].(*types.Func); ok {
		if n := g.decls[fn.Origin()]; n != nil {
			n.step = true
		}
	}
}

// call notes a call: of a function of the package, or of a function elsewhere that may block.
func (g *stepGraph) call(n *stepNode, call *ast.CallExpr, fun ast.Expr) {
	name := g.callee(fun)
	if slices.Contains(g.rule.Blocks, name) || slices.ContainsFunc(blocking, func(b string) bool { return name == b || strings.HasSuffix(b, ".") && strings.HasPrefix(name, b) }) {
		n.blocks = append(n.blocks, stepBlock{call.Pos(), name})
	}
	if fn, ok := g.used(fun).(*types.Func); ok {
		if next := g.decls[fn.Origin()]; next != nil {
			n.calls = append(n.calls, next)
		}
	}
}

// blocking are the functions of the standard library that may block; a name that ends in a dot stands for all of a package.
var blocking = []string{
	"os.", "os/exec.", "net.", "syscall.", "golang.org/x/sys/unix.", "time.Sleep", "io.Closer.Close", "io.ReadAll",
	"sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock", "sync.WaitGroup.Wait", "sync.Cond.Wait",
}

// used returns the object that a called expression names; nil if it names none.
func (g *stepGraph) used(fun ast.Expr) types.Object {
	switch fun := fun.(type) {
	case *ast.Ident:
		return g.p.info.Uses[fun]
	case *ast.SelectorExpr:
		return g.p.info.Uses[fun.Sel]
	case *ast.IndexExpr: // of a generic function
		return g.used(ast.Unparen(fun.X))
	}
	return nil
}

// callee returns the name of the called function: of this package "function" or "Type.method", of others "path.function" or
// "path.Type.method". A field that holds a function is named as a method is.
func (g *stepGraph) callee(fun ast.Expr) string {
	obj := g.used(fun)
	if obj == nil || obj.Pkg() == nil {
		return ""
	}
	name := obj.Name()
	switch obj := obj.(type) {
	case *types.Func:
		if recv := obj.Signature().Recv(); recv != nil {
			name = typeName(recv.Type()) + "." + name
		}
	case *types.Var:
		sel, ok := fun.(*ast.SelectorExpr)
		if !ok || !obj.IsField() || g.p.info.Selections[sel] == nil {
			return ""
		}
		name = typeName(declaring(g.p.info.Selections[sel])) + "." + name
	default:
		return "" // a conversion
	}
	if path := g.m.short(obj.Pkg().Path()); path != g.p.Path {
		return path + "." + name
	}
	return name
}

// declaring is the type that declares the field which is selected: the one that is embedded, for a field of that.
func declaring(s *types.Selection) types.Type {
	t := s.Recv()
	for _, i := range s.Index()[:len(s.Index())-1] {
		if p, ok := t.Underlying().(*types.Pointer); ok {
			t = p.Elem()
		}
		t = t.Underlying().(*types.Struct).Field(i).Type()
	}
	return t
}

// typeName returns the name of a type, or of the type that it points to.
func typeName(t types.Type) string {
	if p, ok := t.(*types.Pointer); ok {
		t = p.Elem()
	}
	if n, ok := t.(*types.Named); ok {
		return n.Obj().Name()
	}
	return ""
}

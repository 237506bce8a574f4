package archtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Imports checks the module against the table: every package has a row, imports only packages that its row
// allows and links none that its row forbids, and every row has a package, and allows only packages that one of its packages
// imports. Tests may import any package.
func (m *Module) Imports(table []Row) (problems []Problem) {
	used := map[string]bool{}
	needed := map[[2]string]bool{} // row, import that it allows
	for _, p := range m.Packages {
		row, ok := rowOf(table, p.Path)
		if !ok {
			problems = append(problems, Problem{File: p.Path, Text: "the package has no row in the import table: say in " +
				"internal/archtest/table.go and ARCHITECTURE.md what it is and what it may import"})
			continue
		}
		used[row.Package] = true
		for _, f := range p.files {
			for _, spec := range f.Imports {
				path, err := strconv.Unquote(spec.Path.Value)
				if err != nil || !m.own(path) {
					continue
				}
				allowed := false
				for _, pattern := range row.Imports {
					if matches(pattern, m.short(path)) {
						needed[[2]string{row.Package, pattern}], allowed = true, true
					}
				}
				if allowed {
					continue
				}
				problems = append(problems, m.problem(spec.Pos(), "%s may not import %s, only %s: move the code, declare the interface "+
					"where it is used, or change the table with its reason", p.Path, m.short(path), list(row.Imports)))
			}
		}
		for _, module := range row.NoLink {
			if chain := m.link(p.full, module); chain != nil {
				problems = append(problems, Problem{File: p.Path, Text: fmt.Sprintf("must not link %s, but does: %s: cut that chain", module, strings.Join(chain, " → "))})
			}
		}
	}
	for _, row := range table {
		if !used[row.Package] {
			problems = append(problems, Problem{File: row.Package, Text: "there is no such package: remove its row from internal/archtest/table.go and ARCHITECTURE.md"})
			continue
		}
		for _, pattern := range row.Imports {
			if pattern != "..." && !needed[[2]string{row.Package, pattern}] {
				problems = append(problems, Problem{File: row.Package, Text: "does not import " + pattern + ", which its row allows: remove that from internal/archtest/table.go and ARCHITECTURE.md"})
			}
		}
	}
	return problems
}

// rowOf returns the row of a package: its own, else the longest pattern that matches.
func rowOf(table []Row, path string) (best Row, ok bool) {
	for _, row := range table {
		if row.Package == path {
			return row, true
		}
		if matches(row.Package, path) && len(row.Package) > len(best.Package) {
			best, ok = row, true
		}
	}
	return best, ok
}

func matches(pattern, path string) bool {
	tree, ok := strings.CutSuffix(pattern, "...")
	if !ok {
		return pattern == path
	}
	return strings.HasPrefix(path+"/", tree)
}

func list(names []string) string {
	if len(names) == 0 {
		return "nothing of ours"
	}
	return strings.Join(names, ", ")
}

// link returns the shortest chain of imports from a package to one of a module, nil if there is none.
func (m *Module) link(from, module string) []string {
	before := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at == module || strings.HasPrefix(at, module+"/") {
			var chain []string
			for ; at != ""; at = before[at] {
				chain = append(chain, m.short(at))
			}
			slices.Reverse(chain)
			return chain
		}
		for _, next := range m.imports[at] {
			if _, seen := before[next]; !seen {
				before[next] = at
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// Markdown returns the table in the form of ARCHITECTURE.md.
func Markdown(table []Row) string {
	var b strings.Builder
	b.WriteString("| Package | Is | Imports of ours |\n|---|---|---|\n")
	for _, row := range table {
		imports := strings.Join(row.Imports, ", ")
		switch {
		case imports == "":
			imports = "—"
		case imports == "...":
			imports = "anything"
		}
		name := row.Package
		if name == "." {
			name = "ocapkernel" // the module's root
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, row.About, imports)
	}
	return b.String()
}

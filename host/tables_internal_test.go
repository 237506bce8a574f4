package host

import (
	"context"
	"reflect"
	"strings"
)

// Tables counts the entries of all tables of a running shell: of each map, list and channel of its owners, and of what is in these,
// by the names of the fields that lead there. It finds them by reflection, so that a new table is counted, too. Rows that are kept in
// memory, and the configuration of the run, are no tables.
func (s *Shell) Tables(ctx context.Context) (map[string]int, error) {
	return ask(ctx, s.core, func(done func(map[string]int, error)) {
		t := tableCounter{n: map[string]int{}, seen: map[any]bool{}}
		t.count("", reflect.ValueOf(s))
		done(t.n, nil)
	})
}

type tableCounter struct {
	n    map[string]int
	seen map[any]bool
}

func (t *tableCounter) count(path string, v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if id := v.Pointer(); !v.IsNil() && isOurs(v.Type().Elem()) && !t.seen[id] {
			t.seen[id] = true
			t.count(path, v.Elem())
		}
	case reflect.Struct:
		if !isOurs(v.Type()) {
			return
		}
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; name != "cfg" {
				t.count(strings.TrimPrefix(path+"."+name, "."), v.Field(i))
			}
		}
	case reflect.Map:
		t.n[path] += v.Len()
		for each := v.MapRange(); each.Next(); {
			t.count(path+"[]", each.Value())
		}
	case reflect.Slice:
		t.n[path] += v.Len()
		for i := range v.Len() {
			t.count(path+"[]", v.Index(i))
		}
	case reflect.Chan:
		t.n[path] += v.Len()
	}
}

// isOurs reports whether the fields of a type are looked at: those of the shell and of its committer.
func isOurs(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && (t.PkgPath() == "ocapkernel.dev/host" || t.PkgPath() == "ocapkernel.dev/host/pipeline" || t.Name() == "")
}

package vat_test

import (
	"os/exec"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
)

// go doc shows each type of the package with its methods, and each method with its comment.
func TestGoDocShowsTheMethodsOfTypes(t *testing.T) {
	for name, typ := range map[string]reflect.Type{
		"Durable": reflect.TypeFor[vat.Durable](), "Ephemeral": reflect.TypeFor[vat.Ephemeral](), "Ref": reflect.TypeFor[vat.Ref](),
		"Promise": reflect.TypeFor[vat.Promise](), "Outcome": reflect.TypeFor[vat.Outcome[int]](), "Resolver": reflect.TypeFor[vat.Resolver](),
		"Map": reflect.TypeFor[vat.Map[string, int]](), "Mutex": reflect.TypeFor[vat.Mutex](), "None": reflect.TypeFor[vat.None](),
		"Error": reflect.TypeFor[vat.Error](), "Message": reflect.TypeFor[vat.Message](),
	} {
		out, err := exec.Command("go", "doc", "ocapkernel.dev/vat", name).CombinedOutput()
		if err != nil {
			t.Fatalf("go doc %s: %v: %s", name, err, out)
		}
		if strings.Contains(string(out), "type "+name+" = ") {
			t.Errorf("%s is an alias:\n%s", name, out)
		}
		for m := range reflect.PointerTo(typ).Methods() {
			if !regexp.MustCompile(`(?m)^func \(\w+ \*?` + name + `(\[[^\]]*\])?\) ` + m.Name + `\(`).Match(out) {
				t.Errorf("go doc %s does not show the method %s:\n%s", name, m.Name, out)
			}
			full, err := exec.Command("go", "doc", "ocapkernel.dev/vat", name+"."+m.Name).CombinedOutput()
			if err != nil || !strings.Contains(string(full), "\n    "+m.Name+" ") {
				t.Errorf("go doc %s.%s has no comment: %v:\n%s", name, m.Name, err, full)
			}
		}
	}
}

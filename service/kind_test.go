package service_test

import (
	"testing"

	"ocapkernel.dev/service"
)

// The traits of a kind hold for its objects, and also where there is no object to ask.
func TestTraitsAreThoseOfTheObjects(t *testing.T) {
	files, err := service.OpenFiles(t.TempDir(), service.FilesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Close() })
	for _, c := range []struct {
		name    string
		kind    service.Kind
		object  service.Idempotent
		methods []string
		again   int
	}{
		{"fs", service.Kind{Traits: service.FilesTraits}, files, []string{"readFile", "readBytes", "list", "stat", "writeFile", "writeBytes", "appendFile", "remove", "rename", "makeDir", "other"}, 4},
		{"fetch", service.Kind{Traits: service.FetchTraits}, newFetch(t, service.FetchOptions{Hosts: []string{"a"}}), []string{"get", "head", "fetch", "other"}, 2},
	} {
		again := 0
		for _, method := range c.methods {
			got := c.kind.TraitsOf(method)
			if got.Idempotent != c.object.Idempotent(method) || got.WaitsForInput || got.EndsObject {
				t.Errorf("%s.%s has the traits %+v, and the object says idempotent: %v", c.name, method, got, c.object.Idempotent(method))
			}
			if got.Idempotent {
				again++
			}
		}
		if again != c.again {
			t.Errorf("%s has %d idempotent methods, want %d", c.name, again, c.again)
		}
	}
	if got := (service.Kind{}).TraitsOf("read"); got != (service.Traits{}) {
		t.Errorf("a kind that says nothing has the traits %+v", got)
	}
}

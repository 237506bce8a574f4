package service_test

import (
	"strings"
	"testing"

	"ocapkernel.dev/service"
)

func TestRandom(t *testing.T) {
	o := service.Random()
	if a, b := value[[]byte](t, call(t, o, "bytes", `[32]`)), value[[]byte](t, call(t, o, "bytes", `[32]`)); len(a) != 32 || string(a) == string(b) {
		t.Errorf("bytes: got %x and %x, want two different ones of 32 bytes", a, b)
	}
	if a, b := value[string](t, call(t, o, "hex", `[16]`)), value[string](t, call(t, o, "hex", `[16]`)); len(a) != 32 || a == b || strings.Trim(a, "0123456789abcdef") != "" {
		t.Errorf("hex: got %s and %s, want two different ones of 32 digits", a, b)
	}
	seen := map[int]bool{}
	for range 1000 {
		n := value[int](t, call(t, o, "integer", `[3]`))
		if n < 0 || n > 2 {
			t.Fatalf("integer: got %d, want 0 to 2", n)
		}
		seen[n] = true
	}
	if len(seen) != 3 {
		t.Errorf("integer: a thousand are %v, want 0, 1 and 2", seen)
	}
	for _, c := range []struct{ method, args string }{
		{"bytes", `[4096]`}, {"hex", `[4096]`}, {"integer", `[1]`}, {"integer", `[9007199254740992]`},
	} {
		if r := call(t, o, c.method, c.args); r.Rejected {
			t.Errorf("%s(%s): %s", c.method, c.args, show(t, r))
		}
	}
	for _, c := range []struct{ method, args, want string }{
		{"bytes", `[0]`, "0 bytes: want 1 to 4096"},
		{"bytes", `[4097]`, "4097 bytes: want 1 to 4096"},
		{"hex", `[-1]`, "-1 bytes: want 1 to 4096"},
		{"integer", `[0]`, "the limit is 0, want 1 to 2^53"},
		{"integer", `[1.5]`, "random.integer: argument 1: got number 1.5, want int64"},
		{"integer", `[{"$bigint":"9007199254740993"}]`, ", want 1 to 2^53"},
	} {
		if got := show(t, call(t, o, c.method, c.args)); !strings.HasPrefix(got, "rejected") || !strings.Contains(got, c.want) {
			t.Errorf("%s(%s): got %s, want a rejection with %q", c.method, c.args, got, c.want)
		}
	}
	if !o.(service.Idempotent).Idempotent("integer") {
		t.Error("integer is not idempotent")
	}
}

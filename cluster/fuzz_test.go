package cluster_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/cluster"
)

// Whatever the bytes are, there is a configuration that keeps its promises, or a list of problems that
// can be printed.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"bootstrap": "a", "vats": {"a": {"module": "m", "parameters": {"x": [1, "\u2028<"],}}}, /**/}`))
	f.Add([]byte(`{"bootstrap": "a", "vats": {"a": {"module": "m", "limits": {"frameBytes": "4MiB", "delivery": "1s"}}}}`))
	f.Add([]byte(`{"bootstrap": "b", "vats": {"a": {"modle": "m", "worker": "x", "sha256": "0"}, "a": 1}, "io": {"x": 1}}`))
	f.Add([]byte("{\"a\": \"\\ud800\", // \u2028\n\"\x00\": [[[]]]}"))
	f.Add([]byte(`{"bootstrap": "\`))
	f.Add([]byte(`/`))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := cluster.Parse("testdata/fuzz.json", data)
		if err != nil {
			var errs *cluster.Errors
			if !errors.As(err, &errs) || len(errs.Problems) == 0 || cfg != nil {
				t.Fatalf("error %T, %v", err, cfg)
			}
			lines := 1 + strings.Count(string(data), "\n")
			for _, p := range errs.Problems {
				if p.Line < 0 || p.Line > lines || p.Column < 0 || p.Column > len(data)+1 || p.Message == "" {
					t.Errorf("problem %+v", p)
				}
				if text := p.String(); len(text) > 2000 || strings.ContainsAny(text, "\n\x00\x1b") {
					t.Errorf("a problem that cannot be printed: %q", text)
				}
			}
			return
		}
		if !slices.ContainsFunc(cfg.Vats, func(v cluster.Vat) bool { return v.Name == cfg.Bootstrap }) {
			t.Errorf("bootstrap %q is not among the vats", cfg.Bootstrap)
		}
		for _, v := range cfg.Vats {
			if v.Parameters != nil && !json.Valid(v.Parameters) {
				t.Errorf("parameters %q", v.Parameters)
			}
			if v.Module == "" || v.Limits.Delivery <= 0 || v.Limits.Syscalls <= 0 || v.Limits.FrameBytes <= 0 || v.Limits.Queue <= 0 {
				t.Errorf("vat %+v", v)
			}
			stored, err := cluster.MarshalStored(v)
			if err != nil {
				t.Fatal(err)
			}
			back, err := cluster.UnmarshalStored(stored)
			if err != nil || !cmp.Equal(v, back) {
				t.Errorf("stored %s, %v: %s", stored, err, cmp.Diff(v, back))
			}
		}
	})
}

package cluster_test

import (
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/cluster"
)

const fuzzFile = "testdata/fuzz.json"

// Any bytes give a configuration that keeps its promises, or a list of problems that can be printed.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"bootstrap": "a", "vats": {"a": {"module": "m", "parameters": {"x": [1, "\u2028<"],}}}, /**/}`))
	f.Add([]byte(`{"bootstrap": "a", "vats": {"a": {"module": "m", "limits": {"frameBytes": "4MiB", "delivery": "1s"}}}}`))
	f.Add([]byte(`{"bootstrap": "b", "vats": {"a": {"modle": "m", "worker": "x", "sha256": "0"}, "a": 1}, "io": {"x": 1}}`))
	f.Add([]byte("{\"a\": \"\\ud800\", // \u2028\n\"\x00\": [[[]]]}"))
	f.Add([]byte(`{"bootstrap": "\`))
	f.Add([]byte(`/`))
	f.Add([]byte(with(`"io": {"a": {"type": "socket", "path": "x/../y", "unit": "chars", "maxUnit": "2KiB", "writeTime": "1s"}, "b": {"type": "console"}}`)))
	f.Add([]byte(with(`"io": {"a": {"type": "listen", "hostport": "[::1%z]:0", "direction": "in"}, "b": {"type": "network", "hostport": "H.x:70"}}`)))
	f.Add([]byte(with(`"io": {"a": {"type": "file", "path": "\u0000", "unit": "bytes"}, "b": {"type": "file", "path": "/x"}}, "services": ["a", "c"]`)))
	f.Add([]byte(with(`"services": ["fs", {"name": "x", "service": "fs", "root": ".", "readOnly": true}, {"name": "y", "service": "z", "root": 1}]`)))
	f.Add([]byte(with(`"services": [{"name": "x", "service": "fetch", "hosts": ["*.a.B:80", "[::1]", "1.2.3.4:5", "http://x", "::", "[::1%x]:1"]}, 5]`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		cfg, err := cluster.Parse(fuzzFile, data)
		if err != nil {
			checkErrors(t, data, err)
			if cfg != nil {
				t.Errorf("an error, and %v", cfg)
			}
			return
		}
		checkConfig(t, cfg)
	})
}

// The same of a declaration of system subclusters, and of all configurations in it.
func FuzzParseSystem(f *testing.F) {
	f.Add([]byte(`{"system": {"a": {"bootstrap": "a", "vats": {"a": {"module": "m"}}}, "b": "good.json", }}`))
	f.Add([]byte(`{"system": {"a": {"bootstrap": "b", "vats": {"a": {"modul": "m"}}}, "a": "problems", "c": "system"}}`))
	f.Add([]byte(`{"system": {"a": ` + with(`"io": {"x": {"type": "console"}}, "services": ["x", "clock"]`) + `, "b c": 5, "d": [], "e": ""}}`))
	f.Add([]byte(`{"system": 5, "other": {}}`))
	f.Add([]byte(`{"system": {"a": "\u0000", "b": "/", "c": "..", "d": "/dev/null"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		sys, err := cluster.ParseSystem(fuzzFile, data)
		if err != nil {
			checkErrors(t, data, err)
			if sys != nil {
				t.Errorf("an error, and %v", sys)
			}
		} else {
			names := map[string]bool{}
			for _, s := range sys.Subclusters {
				checkConfig(t, s.Config)
				names[s.Name] = true
			}
			if len(names) != len(sys.Subclusters) {
				t.Errorf("names come twice among %v", sys.Subclusters)
			}
		}
		// No module is known: so there are mistakes, and at least those of before.
		found := count(err)
		err = cluster.CheckSystem(sys, err, func(cfg *cluster.Config, err error) error {
			return cluster.CheckModules(cfg, err, func(string, string) ([]string, error) { return nil, nil })
		})
		if err != nil {
			checkErrors(t, data, err)
		} else if sys == nil || len(sys.Subclusters) > 0 {
			t.Error("no mistake found")
		}
		if count(err) < found {
			t.Errorf("a check lost mistakes: %v", err)
		}
	})
}

// count returns the number of mistakes.
func count(err error) int {
	if errs := (*cluster.Errors)(nil); errors.As(err, &errs) {
		return len(errs.Problems) + errs.More
	}
	return 0
}

func checkErrors(t *testing.T, data []byte, err error) {
	var errs *cluster.Errors
	if !errors.As(err, &errs) || len(errs.Problems) == 0 {
		t.Fatalf("error %T", err)
	}
	lines := 1 + strings.Count(string(data), "\n")
	for _, p := range errs.Problems {
		if p.Line < 0 || p.Column < 0 || p.Message == "" || p.File == fuzzFile && (p.Line > lines || p.Column > len(data)+1) {
			t.Errorf("problem %+v", p)
		}
		if text := p.String(); len(text) > 2000 || strings.ContainsAny(text, "\n\x00\x1b") {
			t.Errorf("a problem that cannot be printed: %q", text)
		}
	}
}

func checkConfig(t *testing.T, cfg *cluster.Config) {
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
	names := map[string]bool{}
	for _, c := range cfg.IO {
		names[c.Name] = true
		hasAddress := c.Type == cluster.ChannelListen || c.Type == cluster.ChannelNetwork
		if _, _, err := net.SplitHostPort(c.HostPort); (err == nil) != hasAddress {
			t.Errorf("the address of %+v", c)
		}
		hasPath := c.Type == cluster.ChannelFile || c.Type == cluster.ChannelSocket && c.Path != ""
		if filepath.IsAbs(c.Path) != hasPath || c.Type == cluster.ChannelSocket && len(c.Path) > 107 {
			t.Errorf("the path of %+v", c)
		}
		if c.MaxUnitBytes <= 0 || c.WriteTime <= 0 {
			t.Errorf("channel %+v", c)
		}
		stored, err := cluster.MarshalStoredChannel(c)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := cluster.UnmarshalStoredChannel(stored); err != nil || c != back {
			t.Errorf("stored %s, %v: %s", stored, err, cmp.Diff(c, back))
		}
	}
	for _, s := range cfg.Services {
		names[s.Name] = true
		if filepath.IsAbs(s.Root) != (s.Service == cluster.ServiceFS) || (len(s.Hosts) > 0) != (s.Service == cluster.ServiceFetch) {
			t.Errorf("the options of %+v", s)
		}
		stored, err := cluster.MarshalStoredService(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := cluster.UnmarshalStoredService(stored); err != nil || !cmp.Equal(s, back) {
			t.Errorf("stored %s, %v: %s", stored, err, cmp.Diff(s, back))
		}
	}
	if len(names) != len(cfg.IO)+len(cfg.Services) {
		t.Errorf("names come twice among %+v and %+v", cfg.IO, cfg.Services)
	}
}

package cluster_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/cluster"
)

func TestChannelsAndServices(t *testing.T) {
	path := write(t, with(`
		"io": {
			"repl": {"type": "socket"},
			"shell": {
				"type": "socket", "path": "bin/../shell.sock", "direction": "inout", "unit": "chars",
				"maxUnit": "1KiB", "writeTime": "10ms",
			},
			"web": {"type": "listen", "hostport": "LocalHost:0080", "unit": "bytes", "maxUnit": 2097152, "writeTime": "1h"},
			"any": {"type": "listen", "hostport": "[0::1]:0"},
			"feed": {"type": "network", "hostport": "[::ffff:1.2.3.4]:7000", "direction": "in", "unit": "string"},
			"journal": {"type": "file", "path": "not/there/journal", "direction": "out"},
			"notes": {"type": "file", "path": "bin/notes", "unit": "bytes"},
			"term": {"type": "console"},
		},
		"services": [
			"clock",
			"repl",
			{"name": "files", "service": "fs", "root": "bin", "readOnly": true},
			{"name": "web.2", "service": "fetch", "hosts": ["Example.org", "*.Example.org:0443", "[0::1]", "[::1]:80", "10.0.0.1:80"]},
			{"name": "stop-watch", "service": "clock"},
			{"name": "fs", "service": "fs", "root": ".", "readOnly": false},
		]`))
	got, err := cluster.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	const inOut, line, usual = cluster.DirectionInOut, cluster.UnitLine, 1 << 20
	channels := []cluster.Channel{
		{"repl", cluster.ChannelSocket, "", "", inOut, line, usual, 10 * time.Second},
		{"shell", cluster.ChannelSocket, dir + "/shell.sock", "", inOut, cluster.UnitChars, 1 << 10, 10 * time.Millisecond},
		{"web", cluster.ChannelListen, "", "localhost:80", inOut, cluster.UnitBytes, 2 << 20, time.Hour},
		{"any", cluster.ChannelListen, "", "[::1]:0", inOut, line, usual, 10 * time.Second},
		{"feed", cluster.ChannelNetwork, "", "1.2.3.4:7000", cluster.DirectionIn, cluster.UnitString, usual, 10 * time.Second},
		{"journal", cluster.ChannelFile, dir + "/not/there/journal", "", cluster.DirectionOut, line, usual, 10 * time.Second},
		{"notes", cluster.ChannelFile, dir + "/bin/notes", "", inOut, cluster.UnitBytes, usual, 10 * time.Second},
		{"term", cluster.ChannelConsole, "", "", inOut, line, usual, 10 * time.Second},
	}
	if diff := cmp.Diff(channels, got.IO); diff != "" {
		t.Error(diff)
	}
	services := []cluster.Service{
		{Name: "clock", Service: "clock"},
		{Name: "files", Service: "fs", Root: dir + "/bin", ReadOnly: true},
		{Name: "web.2", Service: "fetch", Hosts: []string{"example.org", "*.example.org:443", "[::1]", "[::1]:80", "10.0.0.1:80"}},
		{Name: "stop-watch", Service: "clock"},
		{Name: "fs", Service: "fs", Root: dir},
	}
	if diff := cmp.Diff(services, got.Services); diff != "" {
		t.Error(diff)
	}
	for _, c := range got.IO {
		data, err := cluster.MarshalStoredChannel(c)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := cluster.UnmarshalStoredChannel(data); err != nil || back != c {
			t.Errorf("stored %s and read again: %+v, %v", data, back, err)
		}
	}
	for _, s := range got.Services {
		data, err := cluster.MarshalStoredService(s)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := cluster.UnmarshalStoredService(data); err != nil || !cmp.Equal(back, s) {
			t.Errorf("stored %s and read again: %+v, %v", data, back, err)
		}
	}
}

func TestNoChannelsAndServices(t *testing.T) {
	for _, text := range []string{with(""), with(`"io": {}, "services": []`), with(`"io": {"a": {"type": "console"}}, "services": ["a"]`)} {
		cfg, err := cluster.Parse("cluster.json", []byte(text))
		if err != nil || cfg.Services != nil {
			t.Errorf("%s: %+v, %v", text, cfg, err)
		}
	}
}

func TestCheckServices(t *testing.T) {
	names := []string{"timer", "clock", "fs"}
	known := func(name string) bool { return name == "hidden" || slices.Contains(names, name) }
	tests := []struct{ name, text, want string }{
		{"all known", with(`"services": ["clock", "hidden", {"name": "a", "service": "timer"}]`), ""},
		{"channels are no services", with(`"io": {"repl": {"type": "socket"}}, "services": ["repl"]`), ""},
		{
			"unknown", with("\n" + `"io": {"repl": {"type": "socket"}}, "services": ["repl", "timr", "clock",
			{"name": "clerk", "service": "klock"}, {"name": "hidden.2", "service": "kernelFacet"}]`),
			`cluster.json:2:58: services[1]: unknown service "timr": did you mean "timer"?
cluster.json:3:33: services[3].service: unknown service "klock": did you mean "clock"?
cluster.json:3:75: services[4].service: unknown service "kernelFacet": expected one of "clock", "fs", "timer"`,
		},
		{
			"beside other mistakes", with(`"services": ["timr", 3, {"name": "a", "service": "clok", "root": "."}], "colour": "red"`),
			`cluster.json:1:65: services[0]: unknown service "timr": did you mean "timer"?
cluster.json:1:73: services[1]: expected the name of a service, or an object { … }, got a number
cluster.json:1:101: services[2].service: unknown service "clok": did you mean "clock"?
cluster.json:1:117: services[2].root: "root" is an option of "fs", not of "clok": leave it out
cluster.json:1:124: unknown field "colour": expected one of "bootstrap", "vats", "limits", "services", "io", "bundles"`,
		},
		{"no JSON", "{", "cluster.json:1:2: the file ends too early (parsing value): is a closing bracket or quote missing?"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cfg, err := cluster.Parse("cluster.json", []byte(test.text))
			if diff := cmp.Diff(test.want, text(cluster.CheckServices(cfg, err, known, names))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whichever check comes first, the other adds to its mistakes, also in a file that had no mistakes before.
func TestServicesAndModulesAreCheckedTogether(t *testing.T) {
	const want = `cluster.json:1:45: vats.a.module: unknown module "m": there is none
cluster.json:1:65: services[0]: unknown service "clock": there is none`
	modules := func(string, string) ([]string, error) { return nil, nil }
	known := func(string) bool { return false }
	cfg, err := cluster.Parse("cluster.json", []byte(with(`"services": ["clock"]`)))
	if err != nil {
		t.Fatal(err)
	}
	err = cluster.CheckServices(cfg, cluster.CheckModules(cfg, nil, modules), known, nil)
	if diff := cmp.Diff(want, text(err)); diff != "" {
		t.Error(diff)
	}
	err = cluster.CheckModules(cfg, cluster.CheckServices(cfg, nil, known, nil), modules)
	if diff := cmp.Diff(want, text(err)); diff != "" {
		t.Error(diff)
	}
	other := errors.New("other")
	if err := cluster.CheckServices(nil, other, known, nil); !errors.Is(err, other) {
		t.Error(err)
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestUnmarshalStoredChannelRefuses(t *testing.T) {
	good, err := cluster.MarshalStoredChannel(cluster.Channel{
		"a", cluster.ChannelListen, "/<&>", "h:1", cluster.DirectionOut, cluster.UnitBytes, 5, time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"name":"a","type":"listen","path":"/<&>","hostport":"h:1","direction":"out","unit":"bytes",` +
		`"maxUnitBytes":5,"writeNs":1000000000}`
	if diff := cmp.Diff(want, string(good)); diff != "" {
		t.Errorf("the stored form changed: raise its version. %s", diff)
	}
	for _, bad := range []string{
		"", "null", "{}", "[]", want + want, want + " x", want[:len(want)-1],
		strings.Replace(want, `"v":1`, `"v":2`, 1), strings.Replace(want, `"unit"`, `"units"`, 1),
		strings.Replace(want, `"name":"a"`, `"name":""`, 1), strings.Replace(want, `"listen"`, `"pipe"`, 1),
		strings.Replace(want, `"out"`, `""`, 1), strings.Replace(want, `"bytes"`, `"words"`, 1),
	} {
		if _, err := cluster.UnmarshalStoredChannel([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	if _, err := cluster.MarshalStoredChannel(cluster.Channel{Name: "a", Path: "/\xff"}); err == nil {
		t.Error("stored a path that would not come back")
	}
}

func TestUnmarshalStoredServiceRefuses(t *testing.T) {
	good, err := cluster.MarshalStoredService(cluster.Service{Name: "a.b", Service: "fs", Root: "/<&>", ReadOnly: true, Hosts: []string{"h"}})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"name":"a.b","service":"fs","root":"/<&>","readOnly":true,"hosts":["h"]}`
	if diff := cmp.Diff(want, string(good)); diff != "" {
		t.Errorf("the stored form changed: raise its version. %s", diff)
	}
	for _, bad := range []string{
		"", "null", "{}", "[]", want + want, want + " x", want[:len(want)-1],
		strings.Replace(want, `"v":1`, `"v":2`, 1), strings.Replace(want, `"root"`, `"roof"`, 1),
		strings.Replace(want, `"a.b"`, `""`, 1), strings.Replace(want, `"fs"`, `"f s"`, 1),
	} {
		if _, err := cluster.UnmarshalStoredService([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	if _, err := cluster.MarshalStoredService(cluster.Service{Name: "a", Service: "fs", Root: "/\xff"}); err == nil {
		t.Error("stored a root that would not come back")
	}
}

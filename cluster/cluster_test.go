package cluster_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ocapkernel.dev/cluster"
)

// write makes a directory with a configuration and two programs, and returns the path of the first.
func write(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, file := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"cluster.json": {text, 0o600},
		"bin/teller":   {"#!/bin/sh\n", 0o700},
		"bin/notes":    {"not a program\n", 0o600},
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file.content), file.mode); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cluster.json")
}

func TestLoad(t *testing.T) {
	const digits = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	const text = `// A bank.
{
	"bootstrap": "teller", /* it opens the accounts */
	"vats": {
		"mint": {
			"module": "bank.mint",
			"parameters": {
				"currency": "<€>", // kept as it is
				"list": [1, 2.50, null, {}, ],
			},
		},
		"teller": {
			"module": "bank/teller-2", "worker": "bin/../bin/teller",
			"sha256": "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
			"restart": "never", "maxRestarts": 0, "onFault": "stop", "sandbox": "required",
			"reapInterval": 0, "limits": {"delivery": "1500ms", "syscalls": 1, "frameBytes": 65536, "queue": 7, "transcript": 5},
		},
		"alice_-9": {"module": "a", "sandbox": "off", "worker": "", "parameters": {}},
	},
	"limits": {"delivery": "2m", "frameBytes": "512KiB", "bootstrap": "1h"},
	"services": [], "io": {}, "bundles": {},
} // the end, without a line break`
	path := write(t, text)
	got, err := cluster.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	limits := cluster.Limits{Delivery: 2 * time.Minute, Syscalls: 10_000, FrameBytes: 512 << 10, Queue: 10_000, Transcript: 100_000}
	withBootstrap := limits
	withBootstrap.Bootstrap = time.Hour
	want := &cluster.Config{
		Bootstrap: "teller",
		Source:    path,
		Hash:      fmt.Sprintf("%x", sha256.Sum256([]byte(text))),
		Limits:    withBootstrap,
		Vats: []cluster.Vat{
			{
				Name: "mint", Module: "bank.mint", Parameters: []byte(`{"currency":"<€>","list":[1,2.50,null,{}]}`),
				Restart: cluster.RestartAlways, MaxRestarts: 5, OnFault: cluster.FaultRestart, ReapInterval: 1000, Limits: limits,
			},
			{
				Name: "teller", Module: "bank/teller-2", Worker: filepath.Join(filepath.Dir(path), "bin/teller"), SHA256: digits,
				Restart: cluster.RestartNever, MaxRestarts: 0, OnFault: cluster.FaultStop, ReapInterval: 0, Sandbox: cluster.SandboxRequired,
				Limits: cluster.Limits{Delivery: 1500 * time.Millisecond, Syscalls: 1, FrameBytes: 64 << 10, Queue: 7, Transcript: 5},
			},
			{
				Name: "alice_-9", Module: "a", Parameters: []byte(`{}`),
				Restart: cluster.RestartAlways, MaxRestarts: 5, OnFault: cluster.FaultRestart, ReapInterval: 1000, Limits: limits,
			},
		},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(cluster.Config{})); diff != "" {
		t.Error(diff)
	}
	for _, v := range got.Vats {
		data, err := cluster.MarshalStored(v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := cluster.UnmarshalStored(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(v, back); diff != "" {
			t.Errorf("stored and read again: %s", diff)
		}
	}
}

func TestDefaults(t *testing.T) {
	got, err := cluster.Load(write(t, `{"bootstrap": "a", "vats": {"a": {"module": "m"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	limits := cluster.Limits{
		Delivery: 10 * time.Second, Syscalls: 10_000, FrameBytes: 4 << 20, Queue: 10_000, Transcript: 100_000, Bootstrap: time.Minute,
	}
	if diff := cmp.Diff(limits, got.Limits); diff != "" {
		t.Error(diff)
	}
	limits.Bootstrap = 0
	want := []cluster.Vat{{Name: "a", Module: "m", Restart: "always", MaxRestarts: 5, OnFault: "restart", ReapInterval: 1000, Limits: limits}}
	if diff := cmp.Diff(want, got.Vats); diff != "" {
		t.Error(diff)
	}
}

// Each transcript is a file with its mistakes, and the text that the user reads.
func TestProblems(t *testing.T) {
	datadriven.RunTest(t, "testdata/problems", func(t *testing.T, d *datadriven.TestData) string {
		path := write(t, d.Input)
		_, err := cluster.Load(path)
		if err == nil {
			return "no problem\n"
		}
		if problems := (*cluster.Errors)(nil); !errors.As(err, &problems) || len(problems.Problems) == 0 {
			t.Fatalf("%s: error is a %T", d.Pos, err)
		}
		return strings.ReplaceAll(err.Error(), path, "cluster.json") + "\n"
	})
}

// Configurations that cannot stand in a transcript.
func TestUnusualFiles(t *testing.T) {
	nested := strings.Repeat("[", 65) + strings.Repeat("]", 65)
	const head = `{"bootstrap": "a", "vats": {"a": {"module": "m", "parameters": {"x": `
	deep := func(n int) string { return head + strings.Repeat("[", n) + strings.Repeat("]", n) + "}}}}" }
	var many strings.Builder
	many.WriteString(`{"bootstrap": "v0", "vats": {`)
	for i := range 1001 {
		fmt.Fprintf(&many, `"v%d": {"module": "m"},`, i)
	}
	many.WriteString("}}")
	tests := []struct{ name, text, want string }{
		{"empty", "", "1:1: the file ends too early (parsing value): is a closing bracket or quote missing?"},
		{"byte order mark", "\ufeff{}", "1:1: the file begins with a byte order mark: save it as UTF-8 without one"},
		{"not UTF-8", "{\n\"é\": \"\xe9\"}", "2:7: the file is not valid UTF-8 here"},
		{"UTF-16", "\xff\xfe{\x00", "1:1: the file is not valid UTF-8 here"},
		{"too big", strings.Repeat(" ", 1<<20+1), "the file is larger than 1048576 bytes"},
		{"too deep", nested, "1:65: values are nested more than 64 deep"},
		{"far too deep", strings.Repeat(`{"a":[`, 1<<20/6), "1:193: values are nested more than 64 deep"},
		{"deep enough", deep(60), ""},
		{"brackets in strings and comments", strings.Replace(deep(1), `[`, "[ /* "+nested+" */ \"\\\""+nested+"\"//"+nested+"\n", 1), ""},
		{"too many values", "[" + strings.Repeat("0,", 200_000) + "]", "1:200001: the file has more than 100000 values"},
		{"too many vats", many.String(), "1:29: vats: there are 1001 vats: the limit is 1000"},
		{
			"too many channels", with(`"io": {` + numbered(65, `"c%d": {"type": "socket"},`) + `}`),
			"1:58: io: there are 65 channels: the limit is 64",
		},
		{"64 channels", with(`"io": {` + numbered(64, `"c%d": {"type": "socket"},`) + `}`), ""},
		{
			"too many services", with(`"services": [` + numbered(65, `"c%d",`) + `]`),
			"1:64: services: there are 65 services: the limit is 64",
		},
		{"64 services", with(`"services": [` + numbered(64, `"c%d",`) + `]`), ""},
		{
			"too many hosts", with(`"services": [{"name": "web", "service": "fetch", "hosts": [` + numbered(257, `"c%d",`) + `]}]`),
			"1:110: services[0].hosts: there are 257 hosts: the limit is 256",
		},
		{"256 hosts", with(`"services": [{"name": "web", "service": "fetch", "hosts": [` + numbered(256, `"c%d",`) + `]}]`), ""},
		{"longest path of a socket", with(`"io": {"a": {"type": "socket", "path": "/` + strings.Repeat("x", 106) + `"}}`), ""},
		{"line break in a string", "{\"bootstrap\": \"a\nb\"}", `1:15: this string is not JSON: write \\ for a backslash, \n for a line break`},
		{
			"zero byte in a path", "{\"bootstrap\":\"a\",\"vats\":{\"a\":{\"module\":\"m\",\"worker\":\"a\\u0000b\"}}}",
			`1:53: vats.a.worker: the program "a\x00b" (relative to the directory of this file) cannot be used: invalid argument`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := cluster.Parse("cluster.json", []byte(test.text))
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			sep := ":"
			if test.name == "too big" {
				sep = ": "
			}
			if err == nil || err.Error() != "cluster.json"+sep+test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}

// with makes a configuration with more fields.
func with(fields string) string {
	return `{"bootstrap": "a", "vats": {"a": {"module": "m"}}, ` + fields + `}`
}

// numbered repeats format for the numbers below n.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		dir:                          "this is a directory: name the configuration file in it",
		filepath.Join(dir, "gone"):   "there is no such file",
		"/dev/null":                  "this is not a regular file",
		"testdata/problems/no/where": "the file cannot be read: not a directory",
	} {
		_, err := cluster.Load(path)
		if err == nil || err.Error() != path+": "+want {
			t.Errorf("got %v, want %s: %s", err, path, want)
		}
	}
}

// A file can hold more mistakes than anybody wants to read, and finding them must not take long.
func TestManyProblems(t *testing.T) {
	var b strings.Builder
	b.WriteString("{")
	for i := range 45_000 {
		fmt.Fprintf(&b, "\"bootstrapp%d\": 0,\n", i)
	}
	b.WriteString("}")
	_, err := cluster.Parse("cluster.json", []byte(b.String()))
	var errs *cluster.Errors
	if !errors.As(err, &errs) || len(errs.Problems) != 100 || errs.More != 45_000+2-100 {
		t.Fatalf("got %.200v", err)
	}
	if !strings.HasSuffix(err.Error(), "\nand 44902 more") {
		t.Errorf("got …%s", err.Error()[len(err.Error())-100:])
	}
}

func TestProblemAt(t *testing.T) {
	cfg, err := cluster.Parse("x/cluster.json", []byte("{\n\"bootstrap\": \"a\",\n\"vats\": {\n  /*é*/ \"a\": {\"module\": \"m\"}}}"))
	if err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]string{
		"vats.a.module":      "x/cluster.json:4:25: vats.a.module: m",
		"vats.a.worker":      "x/cluster.json:4:9: vats.a.worker: m",
		"vats.a":             "x/cluster.json:4:9: vats.a: m",
		"vats.b.limits.none": "x/cluster.json:3:9: vats.b.limits.none: m",
		"limits.queue":       "x/cluster.json:1:1: limits.queue: m",
		"":                   "x/cluster.json:1:1: m",
	} {
		if got := cfg.ProblemAt(field, "m").String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestModulesAreCheckedBesideOtherMistakes(t *testing.T) {
	cfg, err := cluster.Parse("/x/cluster.json", []byte(`{"bootstrap": "a", "vats": {
		"a": {"module": "bank.mnt", "limits": {"queue": 0}},
		"b": {"module": "bank.mint", "colour": "red"},
		"c": {"worker": "no/such", "module": "bank.mnt"},
		"d": {},
	}}`))
	err = cluster.CheckModules(cfg, err, func(string, string) ([]string, error) { return []string{"bank.mint"}, nil })
	var errs *cluster.Errors
	if !errors.As(err, &errs) {
		t.Fatal(err)
	}
	var fields []string
	for _, p := range errs.Problems {
		fields = append(fields, p.Field)
	}
	want := []string{"vats.a.module", "vats.a.limits.queue", "vats.b", "vats.c.worker", "vats.d"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("%s\n%v", diff, err)
	}
}

func TestCheckModules(t *testing.T) {
	path := write(t, `{
"bootstrap": "alice",
"vats": {
  "mint": {"module": "bank.mnt"},
  "alice": {"module": "bank.teller"},
  "bob": {"module": "zebra"},
  "carol": {"module": "own.thing", "worker": "bin/teller"},
}}`)
	cfg, err := cluster.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	stock := []string{"echo", "bank.teller", "bank.mint"}
	check := func(own []string, ownErr, stockErr error) string {
		asked = 0
		err := cluster.CheckModules(cfg, nil, func(worker, _ string) ([]string, error) {
			asked++
			if worker == "" {
				return stock, stockErr
			}
			if worker != filepath.Join(filepath.Dir(path), "bin/teller") {
				t.Errorf("asked %q", worker)
			}
			return own, ownErr
		})
		if err == nil {
			return ""
		}
		return strings.ReplaceAll(err.Error(), path, "cluster.json")
	}
	const stockProblems = `cluster.json:4:22: vats.mint.module: unknown module "bank.mnt": did you mean "bank.mint"?` +
		"\n" + `cluster.json:6:21: vats.bob.module: unknown module "zebra": expected one of "bank.mint", "bank.teller", "echo"`
	if diff := cmp.Diff(stockProblems, check([]string{"own.thing"}, nil, nil)); diff != "" {
		t.Error(diff)
	}
	if asked != 2 {
		t.Errorf("asked %d times for two programs", asked)
	}
	if diff := cmp.Diff(stockProblems+"\n"+`cluster.json:7:23: vats.carol.module: unknown module "own.thing": there is none`,
		check(nil, nil, nil)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(stockProblems+"\n"+`cluster.json:7:46: vats.carol.worker: cannot ask the program for its modules: no hello`,
		check(nil, errors.New("no hello"), nil)); diff != "" {
		t.Error(diff)
	}
	stock = append(stock, "bank.mnt", "zebra")
	if diff := cmp.Diff("", check([]string{"own.thing"}, nil, nil)); diff != "" {
		t.Error(diff)
	}
	want := "cluster.json:4:3: vats.mint: cannot ask the stock worker program for its modules: it is not there"
	if got, _, _ := strings.Cut(check([]string{"own.thing"}, nil, errors.New("it is not there")), "\n"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestUnmarshalStoredRefuses(t *testing.T) {
	good, err := cluster.MarshalStored(cluster.Vat{Name: "a", Module: "m", ReapInterval: 1000, Parameters: []byte(`{"a":"<&>"}`)})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"v":1,"name":"a","module":"m","parameters":{"a":"<&>"},"restart":"","maxRestarts":0,"onFault":"",` +
		`"deliveryNs":0,"syscalls":0,"frameBytes":0,"queue":0,"transcript":0}`
	if diff := cmp.Diff(want, string(good)); diff != "" {
		t.Errorf("the stored form changed: raise its version. %s", diff)
	}
	for _, bad := range []string{
		"", "null", "{}", "[]", want + want, want + " x",
		strings.Replace(want, `"v":1`, `"v":2`, 1), strings.Replace(want, `"queue"`, `"queues"`, 1),
		strings.Replace(want, `"name":"a"`, `"name":""`, 1), want[:len(want)-1],
	} {
		if _, err := cluster.UnmarshalStored([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	if _, err := cluster.MarshalStored(cluster.Vat{Name: "a", Parameters: []byte("{")}); err == nil {
		t.Error("stored parameters that are not JSON")
	}
}

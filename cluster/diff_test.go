package cluster_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/cluster"
)

// base is a configuration of which each case below changes one thing.
const base = `{
	"bootstrap": "a",
	"vats": {
		"a": {"module": "m", "parameters": {"n": 1}},
		"b": {"module": "m"},
	},
	"io": {"door": {"type": "socket"}, "log": {"type": "file", "path": "log", "direction": "out"}},
	"services": ["timer", {"name": "disk", "service": "fs", "root": "."}, {"name": "web", "service": "fetch", "hosts": ["a.example"]}],
}`

func TestDiffNamesEachFieldAndHowItIsApplied(t *testing.T) {
	dir := t.TempDir()
	for _, program := range []string{"worker"} {
		if err := os.WriteFile(filepath.Join(dir, program), []byte("#!"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	parse := func(text string) *cluster.Config {
		t.Helper()
		cfg, err := cluster.Parse(filepath.Join(dir, "cluster.json"), []byte(text))
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		return cfg
	}
	sha := strings.Repeat("ab", 32)
	for _, test := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"a comment", `{`, `/* new */ {`, ""},
		{"the order", `"timer", {"name": "disk", "service": "fs", "root": "."}`, `{"name": "disk", "service": "fs", "root": "."}, "timer"`, ""},
		{"bootstrap", `"bootstrap": "a"`, `"bootstrap": "b"`, "bootstrap changed replace"},
		{"a limit of the launch", `"bootstrap": "a"`, `"bootstrap": "a", "limits": {"bootstrap": "5s"}`, "limits.bootstrap changed new"},
		{"a limit of all vats", `"bootstrap": "a"`, `"bootstrap": "a", "limits": {"queue": 7}`, "vats.a.limits.queue changed live, vats.b.limits.queue changed live"},
		{"module", `"b": {"module": "m"}`, `"b": {"module": "n"}`, "vats.b.module changed replace"},
		{"worker", `"b": {"module": "m"}`, `"b": {"module": "m", "worker": "worker", "sha256": "` + sha + `"}`, "vats.b.worker changed start, vats.b.sha256 changed start"},
		{"parameters", `{"n": 1}`, `{"n": 2}`, "vats.a.parameters changed new"},
		{"policies", `"b": {"module": "m"}`, `"b": {"module": "m", "restart": "never", "onFault": "stop"}`, "vats.b.restart changed live, vats.b.onFault changed live"},
		{"restarts", `"b": {"module": "m"}`, `"b": {"module": "m", "maxRestarts": 9}`, "vats.b.maxRestarts changed live"},
		{
			"limits", `"b": {"module": "m"}`, `"b": {"module": "m", "limits": {"delivery": "3s", "syscalls": 9, "frameBytes": 65536, "queue": 9, "transcript": 99}}`,
			"vats.b.limits.delivery changed start, vats.b.limits.syscalls changed start, vats.b.limits.frameBytes changed start, " +
				"vats.b.limits.queue changed live, vats.b.limits.transcript changed live",
		},
		{"a vat more", `"b": {"module": "m"},`, `"b": {"module": "m"}, "c": {"module": "m"},`, "vats.c added live"},
		{"a vat less", `"b": {"module": "m"},`, ``, "vats.b removed replace"},
		{"a channel more", `"door": {"type": "socket"},`, `"door": {"type": "socket"}, "gate": {"type": "socket"},`, "io.gate added live"},
		{"a channel less", `"door": {"type": "socket"},`, ``, "io.door removed replace"},
		{"another channel", `"door": {"type": "socket"},`, `"door": {"type": "socket", "unit": "bytes"},`, "io.door.unit changed replace"},
		{"a service more", `["timer",`, `["timer", "random",`, "services.random added live"},
		{"a service less", `["timer",`, `[`, "services.timer removed replace"},
		{"a wider service", `["a.example"]`, `["a.example", "b.example"]`, "services.web.hosts changed live"},
		{"a narrower service", `"root": "."`, `"root": ".", "readOnly": true`, "services.disk.readOnly changed live"},
		{"what only later reads and writes heed", `"door": {"type": "socket"},`, `"door": {"type": "socket", "maxUnit": "4KiB", "writeTime": "3s"},`, "io.door.maxUnit changed live, io.door.writeTime changed live"},
		{"where a channel leads", `"path": "log"`, `"path": "worker"`, "io.log.path changed replace"},
		{"what a service reaches", `"root": "."`, `"root": ".."`, "services.disk.root changed replace"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if !strings.Contains(base, test.old) {
				t.Fatalf("%q is not in the base", test.old)
			}
			changes := cluster.Diff(parse(base), parse(strings.Replace(base, test.old, test.new, 1)))
			var got []string
			replace := 0
			for _, c := range changes {
				got = append(got, c.Field+" "+string(c.Kind)+" "+string(c.Applies))
				if c.Applies == cluster.ApplyReplace {
					replace++
				}
			}
			if diff := cmp.Diff(test.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if n := len(cluster.NeedReplace(changes)); n != replace {
				t.Errorf("%d need a replacement, want %d", n, replace)
			}
		})
	}
}

// A field that is added to a type of the configuration must not be left out of the comparison.
func TestDiffSeesEveryField(t *testing.T) {
	seen := func(what string, from, to *cluster.Config) {
		t.Helper()
		if len(cluster.Diff(from, to)) == 0 {
			t.Errorf("a change of %s is not seen", what)
		}
	}
	each := func(v any, do func(name string, changed any)) {
		for f := range reflect.TypeOf(v).Fields() {
			if f.Name == "Name" || f.Type.Kind() == reflect.Struct {
				continue
			}
			c := reflect.New(reflect.TypeOf(v)).Elem()
			c.Set(reflect.ValueOf(v))
			switch field := c.FieldByIndex(f.Index); field.Kind() {
			case reflect.String:
				field.SetString("x")
			case reflect.Bool:
				field.SetBool(true)
			case reflect.Int, reflect.Int64:
				field.SetInt(77)
			case reflect.Slice:
				field.Set(reflect.MakeSlice(field.Type(), 1, 1))
				if field.Type().Elem().Kind() == reflect.String {
					field.Index(0).SetString("x")
				}
			default:
				t.Fatalf("%s.%s: %s", reflect.TypeOf(v), f.Name, field.Kind())
			}
			do(f.Name, c.Interface())
		}
	}
	vat, channel, service := cluster.Vat{Name: "v"}, cluster.Channel{Name: "c"}, cluster.Service{Name: "s"}
	of := func(v cluster.Vat, c cluster.Channel, s cluster.Service) *cluster.Config {
		return &cluster.Config{Vats: []cluster.Vat{v}, IO: []cluster.Channel{c}, Services: []cluster.Service{s}}
	}
	from := of(vat, channel, service)
	each(vat, func(name string, v any) { seen("Vat."+name, from, of(v.(cluster.Vat), channel, service)) })
	each(channel, func(name string, v any) { seen("Channel."+name, from, of(vat, v.(cluster.Channel), service)) })
	each(service, func(name string, v any) { seen("Service."+name, from, of(vat, channel, v.(cluster.Service))) })
	each(vat.Limits, func(name string, v any) {
		if name != "Bootstrap" { // it belongs to the cluster
			seen("Limits."+name, from, of(cluster.Vat{Name: "v", Limits: v.(cluster.Limits)}, channel, service))
		}
	})
}

package cluster_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ocapkernel.dev/cluster"
)

// oneOfEach is a configuration with a vat, a channel and a service, and characters that JSON for HTML escapes.
func oneOfEach() *cluster.Config {
	limits := cluster.DefaultLimits()
	limits.Bootstrap = 7 * time.Second
	return &cluster.Config{
		Bootstrap: "a", Source: "/c<&>.json", Hash: "h", Limits: limits,
		Vats:     []cluster.Vat{{Name: "a", Module: "m", ReapInterval: 1000, Parameters: []byte(`{"a":"<&>","n":1}`)}},
		IO:       []cluster.Channel{{Name: "c", Type: "socket", Path: "/<&>", Direction: "in", Unit: "line", MaxUnitBytes: 1, WriteTime: time.Second}},
		Services: []cluster.Service{{Name: "f", Service: "fs", Root: "/<&>", ReadOnly: true}},
	}
}

const storedOneOfEach = `{"v":1,"bootstrap":"a","bootstrapNs":7000000000,` +
	`"vats":[{"v":1,"name":"a","module":"m","parameters":{"a":"<&>","n":1},"restart":"","maxRestarts":0,"onFault":"",` +
	`"deliveryNs":0,"syscalls":0,"frameBytes":0,"queue":0,"transcript":0}],` +
	`"io":[{"v":1,"name":"c","type":"socket","path":"/<&>","direction":"in","unit":"line","maxUnitBytes":1,"writeNs":1000000000}],` +
	`"services":[{"v":1,"name":"f","service":"fs","root":"/<&>","readOnly":true}],"source":"/c<&>.json","hash":"h"}`

func TestStoredConfigurationComesBackAsItWas(t *testing.T) {
	data, err := cluster.MarshalStoredConfig(oneOfEach())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(storedOneOfEach, string(data)); diff != "" {
		t.Errorf("the stored form changed: raise its version. %s", diff)
	}
	back, err := cluster.UnmarshalStoredConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(oneOfEach(), back, cmpopts.IgnoreUnexported(cluster.Config{})); diff != "" {
		t.Error(diff)
	}
}

func TestStoredConfigurationOfAnEarlierVersionIsTheSameAsItsFile(t *testing.T) {
	escape := strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`)
	back, err := cluster.UnmarshalStoredConfig([]byte(escape.Replace(storedOneOfEach)))
	if err != nil {
		t.Fatal(err)
	}
	if changes := cluster.Diff(back, oneOfEach()); len(changes) > 0 {
		t.Errorf("got changes %v, want none", changes)
	}
	other := oneOfEach()
	other.Vats[0].Parameters = []byte(`{"a":"<&>","n":1.0}`)
	if changes := cluster.Diff(back, other); len(changes) != 1 || changes[0].Field != "vats.a.parameters" {
		t.Errorf("got changes %v, want one of the parameters", changes)
	}
	for _, p := range []string{`{}`, ""} { // no parameters are not the empty ones
		from, to := oneOfEach(), oneOfEach()
		from.Vats[0].Parameters, to.Vats[0].Parameters = []byte(p), nil
		if changes := cluster.Diff(from, to); len(changes) != len(p)/2 {
			t.Errorf("from %q to none: got changes %v", p, changes)
		}
	}
}

func TestUnmarshalStoredConfigRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "[]", "null", storedOneOfEach[1:], strings.Replace(storedOneOfEach, `{"v":1,"bootstrap"`, `{"v":2,"bootstrap"`, 1),
		strings.Replace(storedOneOfEach, `{"v":1,"name":"a"`, `{"v":2,"name":"a"`, 1),
		strings.Replace(storedOneOfEach, `"type":"socket"`, `"type":"pipe"`, 1),
		strings.Replace(storedOneOfEach, `"service":"fs"`, `"service":""`, 1),
	} {
		if _, err := cluster.UnmarshalStoredConfig([]byte(bad)); err == nil {
			t.Errorf("accepted %s", bad)
		}
	}
	for what, spoil := range map[string]func(*cluster.Config){
		"a vat":     func(c *cluster.Config) { c.Vats[0].Parameters = []byte("{") },
		"a channel": func(c *cluster.Config) { c.IO[0].Path = "/\xff" },
		"a service": func(c *cluster.Config) { c.Services[0].Root = "/\xff" },
	} {
		cfg := oneOfEach()
		spoil(cfg)
		if _, err := cluster.MarshalStoredConfig(cfg); err == nil {
			t.Errorf("stored %s that does not come back", what)
		}
	}
}

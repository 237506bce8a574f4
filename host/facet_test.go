package host_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/vat"
)

// plain is a vat that answers.
type plain struct{ vat.Durable }

// Echo returns its argument.
func (*plain) Echo(x any) any { return x }

const plainConfig = `{"bootstrap": "boss", "vats": {"boss": {"module": "plain"}}%s}`

// facet is the kernelFacet of a world in which nothing dies, whose system subcluster "sys" is s1.
type facet struct {
	*world
	kref  string
	calls int
}

func withFacet(t *testing.T, use func(f *facet)) {
	dir := t.TempDir()
	for name, text := range map[string]string{"kernel.json": `{"system": {"sys": "sys.json"}}`, "sys.json": fmt.Sprintf(plainConfig, `, "services": ["kernelFacet"]`)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sys, err := cluster.LoadSystem(filepath.Join(dir, "kernel.json"))
	if err != nil {
		t.Fatal(err)
	}
	program := programOf(t, vat.Modules{"plain": func() *plain { return &plain{} }})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, program, true)
		w.change = func(c *host.Config) { c.System = sys }
		w.live(func() {
			w.must("there", "s1", "echo", 1.0)
			list, err := w.k.ServiceList(w.ctx)
			if err != nil {
				t.Error(err)
				return
			}
			for _, s := range list {
				if s.Name == host.FacetName {
					use(&facet{world: w, kref: string(s.KRef)})
					return
				}
			}
			t.Errorf("there is no facet among %+v", list)
		})
	})
}

// ask calls a method. The result is JSON; a reference is the name of its object, and of a rejection it is the message.
func (f *facet) ask(method string, args ...any) string {
	f.calls++
	a := f.must(fmt.Sprintf("%s %d", method, f.calls), f.kref, method, args...)
	v, err := capdata.Decode(a.Value.Body, len(a.Value.Slots))
	if err != nil {
		f.t.Errorf("%s: %v", method, err)
		return ""
	}
	switch e := v.(type) {
	case *capdata.Error:
		if a.Rejected {
			return "rejected: " + e.Message
		}
	case capdata.Remotable:
		return string(a.Value.Slots[e.Slot]) + " " + e.Iface
	}
	text, err := capdata.ToJSON(v, func(i int) string { return string(a.Value.Slots[i]) })
	if err != nil {
		f.t.Errorf("%s: %v", method, err)
	}
	return string(text)
}

// want compares the beginning of a result.
func (f *facet) want(want, method string, args ...any) {
	f.t.Helper()
	if got := f.ask(method, args...); !strings.HasPrefix(got, want) {
		f.t.Errorf("%s(%v) is %s, want %s", method, args, got, want)
	}
}

const done = `{"$undefined":true}`

func TestTheFacetTellsOfTheKernel(t *testing.T) {
	withFacet(t, func(f *facet) {
		id := string(f.launch(fmt.Sprintf(plainConfig, "")))
		f.want(`"pong"`, "ping")
		var status struct {
			Epoch       string
			Cranks      uint64
			DiskFull    bool
			Subclusters []struct {
				Subcluster, Root, State, System string
				Vats                            map[string]string
			}
			Vats []struct{ ID, Name, SubclusterID string }
		}
		if text := f.ask("getStatus"); json.Unmarshal([]byte(text), &status) != nil || status.Epoch == "" || status.Cranks == 0 || status.DiskFull ||
			len(status.Subclusters) != 2 || len(status.Vats) != 2 || status.Subclusters[0].System != "sys" || status.Subclusters[1].Vats["boss"] != "v2" ||
			status.Vats[1].ID != "v2" || status.Vats[1].SubclusterID != id || status.Vats[1].Name != "boss" {
			t.Errorf("the status is %s", text)
		}
		root := status.Subclusters[1].Root
		one := fmt.Sprintf(`{"root":%q,"state":"running","subcluster":"s2","vats":{"boss":"v2"}}`, root)
		f.want(fmt.Sprintf(`[{"root":%q,"state":"running","subcluster":"s1","system":"sys","vats":{"boss":"v1"}},%s]`, status.Subclusters[0].Root, one), "getSubclusters")
		if text := f.ask("getSubcluster", "s2"); !strings.Contains(text, `"config":{`) || !strings.Contains(text, `"module":"plain"`) || !strings.Contains(text, `"subcluster":"s2"`) {
			t.Errorf("the subcluster is %s", text)
		}
		f.want("null", "getSubcluster", "s9")
		f.want("rejected: \"x\" is no subcluster's id: want s1", "getSubcluster", "x")
		f.want(status.Subclusters[0].Root+" Alleged: kernelObject", "getSystemSubclusterRoot", "sys")
		for _, args := range [][]any{{"other"}, {}, {1.0}} {
			f.want("rejected: there is no running system subcluster", "getSystemSubclusterRoot", args...)
		}
		f.want("rejected: kernelFacet has no method", "getEverything")

		f.want(root+" Alleged: kernelObject", "getPresence", root)
		f.want(root+" Alleged: boss", "getPresence", root, "boss")
		f.want(root+" Alleged: kernelObject", "getPresence", root, capdata.Undefined{})
		f.want(root+" Alleged: "+strings.Repeat("i", 256), "getPresence", root, strings.Repeat("i", 256))
		for _, args := range [][]any{{}, {1.0}, {"kp4"}, {"x"}, {root, 1.0}, {root, strings.Repeat("i", 257)}, {root, "boss", "more"}} {
			f.want("rejected: kernelFacet.getPresence(kref, iface?): wrong number or type of arguments", "getPresence", args...)
		}
		f.want("[1,\"a\"]", "queueMessage", root, "echo", []any{[]any{1.0, "a"}})
		for _, args := range [][]any{{root, "echo"}, {"x", "echo", []any{}}, {1.0, "echo", []any{}}, {root, 1.0, []any{}}, {root, "echo", "x"}} {
			f.want("rejected: kernelFacet.queueMessage(target, method, args): wrong number", "queueMessage", args...)
		}
	})
}

func TestTheFacetChangesTheKernel(t *testing.T) {
	withFacet(t, func(f *facet) {
		id := string(f.launch(fmt.Sprintf(plainConfig, "")))
		root := f.rootOf(id)
		f.want(`"`, "pingVat", "v2")
		f.want(done, "restartVat", "v2")
		f.want("7", "queueMessage", root, "echo", []any{7.0})
		for _, method := range []string{"pingVat", "restartVat", "terminateVat"} {
			f.want(`rejected: "x" is no vat's id: want v1`, method, "x")
			if got := f.ask(method, "v99"); !strings.HasPrefix(got, "rejected: ") || !strings.Contains(got, "v99") {
				t.Errorf("%s of a vat that is not there: %s", method, got)
			}
		}
		f.want("false", "isRevoked", root)
		f.want(done, "revoke", root)
		f.want("true", "isRevoked", root)
		f.want("rejected: [KERNEL:REVOKED]", "queueMessage", root, "echo", []any{7.0})
		for _, method := range []string{"revoke", "isRevoked"} {
			f.want(`rejected: "x" is no object's name: want ko4`, method, "x")
			f.want("rejected: want an object, or its name such as ko4", method, 1.0)
		}

		if got := f.ask("reloadSubcluster", id); strings.HasPrefix(got, "rejected") {
			t.Errorf("reload: %s", got)
		}
		f.want("rejected: there is no running subcluster", "reloadSubcluster", id)
		for _, args := range [][]any{{}, {1.0}, {""}, {"s1", "s2"}} {
			f.want("rejected: kernelFacet.reloadSubcluster(id): wrong number or type of arguments", "reloadSubcluster", args...)
		}
		f.want(done, "terminateVat", "v3") // its only one: the subcluster ends with it
		f.want("null", "getSubcluster", "s3")

		config, err := capdata.FromJSON(fmt.Appendf(nil, plainConfig, ""), nil)
		if err != nil {
			t.Error(err)
		}
		if got := f.ask("launchSubcluster", config); strings.HasPrefix(got, "rejected") {
			t.Errorf("launch: %s", got)
		}
		f.want("rejected: kernelFacet.launchSubcluster(config): wrong number", "launchSubcluster")
		if got := f.ask("launchSubcluster", "x"); !strings.HasPrefix(got, "rejected: ") {
			t.Errorf("a configuration that is none is launched: %s", got)
		}
		f.want("{", "getSubcluster", "s4")
		f.want(done, "terminateSubcluster", "s4")
		f.want("null", "getSubcluster", "s4")
		f.want("rejected: ", "terminateSubcluster", "s4")
		f.want("rejected: \"x\" is no subcluster's id", "terminateSubcluster", "x")
		st, err := f.k.Status(f.ctx)
		if err != nil || len(st.Subclusters) != 1 || st.Subclusters[0].ID != "s1" {
			t.Errorf("in the end there are %+v, %v", st.Subclusters, err)
		}
	})
}

// rootOf is the root of a subcluster.
func (f *facet) rootOf(id string) string {
	var sub struct{ Root string }
	if text := f.ask("getSubcluster", id); json.Unmarshal([]byte(text), &sub) != nil {
		f.t.Errorf("the subcluster is %s", text)
	}
	return sub.Root
}

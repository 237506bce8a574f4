package controller_test

import (
	"strings"
	"testing"

	"ocapkernel.dev/examples/controller"
	"ocapkernel.dev/vat/vattest"
)

// TestAFailureIsNotTheEndOfASubcluster has the kernel fail to end, or to reload, a subcluster, for any reason:
// the controller asks for the subcluster, and forgets it only if the kernel does not know it.
func TestAFailureIsNotTheEndOfASubcluster(t *testing.T) {
	k := vattest.New(t, controller.Modules())
	k.KillAlways = true
	facet := k.Service("kernelFacet")
	k.Timer("timer")
	if err := k.Launch("controller", vattest.Vat{Name: "controller", Module: "controller"}); err != nil {
		t.Fatal(err)
	}
	launched := k.Send("controller", "launch", `"game"`, `{}`)
	k.Run()
	facet.Call("launchSubcluster").Answer(`{"subcluster":"s2","root":{"$ref":"` + k.Root("controller") + `"},"vats":{"ping":"v2"}}`)
	k.Run()
	if _, err := launched.Result(); err != nil {
		t.Fatal(err)
	}
	list := func() string {
		t.Helper()
		text, err := k.Call("controller", "list")
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, method := range []string{"terminate", "reload"} {
		for _, left := range []string{`{"subcluster":"s2","state":"running"}`, ""} {
			done := k.Send("controller", method, `"game"`)
			k.Run()
			facet.Call(method + "Subcluster").Reject("the kernel has other things to do")
			k.Run()
			if left == "" {
				facet.Call("getSubcluster").Reject("nor does it answer this")
			} else {
				facet.Call("getSubcluster").Answer(left)
			}
			k.Run()
			if _, err := done.Result(); err == nil || !strings.Contains(err.Error(), "other things") {
				t.Errorf("%s: got %v", method, err)
			}
			if got := list(); !strings.Contains(got, `"running"`) || !strings.Contains(got, "s2") {
				t.Errorf("after %s failed, and the kernel said %q of it: %s", method, left, got)
			}
		}
	}
	done := k.Send("controller", "terminate", `"game"`)
	k.Run()
	facet.Call("terminateSubcluster").Reject("there is no subcluster s2")
	k.Run()
	facet.Call("getSubcluster").Answer("null")
	k.Run()
	if _, err := done.Result(); err == nil || list() != "{}" {
		t.Errorf("what is gone: %v, %s", err, list())
	}
}

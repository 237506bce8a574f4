package examples_test

import (
	"testing"

	"ocapkernel.dev/examples"
	"ocapkernel.dev/vat/vattest"
)

func TestHello(t *testing.T) {
	k := vattest.New(t, examples.Modules())
	if err := k.Launch("greeter", vattest.Vat{Name: "greeter", Module: "hello"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"hello, world; you are number 1"`, `"hello, world; you are number 2"`} {
		if got, err := k.Call("greeter", "hello", `"world"`); got != want {
			t.Errorf("got %s, %v, want %s", got, err, want)
		}
		k.Restart("greeter")
	}
}

func TestPingPong(t *testing.T) {
	k := vattest.New(t, examples.Modules())
	if err := k.Launch("ping", vattest.Vat{Name: "ping", Module: "pingpong.ping"}, vattest.Vat{Name: "pong", Module: "pingpong.pong"}); err != nil {
		t.Fatal(err)
	}
	if got, err := k.Call("ping", "play", "100"); got != "100" {
		t.Errorf("got %s, %v", got, err)
	}
}

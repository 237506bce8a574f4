package wiretest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/wire"
	"ocapkernel.dev/wire/wiretest"
)

// The other process has neither the sender's memory nor a value that no frame can hold.
func TestFramesArriveAsInAnotherProcess(t *testing.T) {
	value := []byte("old")
	got, err := wiretest.Down(wire.Row{Key: "k", Value: value, Found: true})
	value[0] = 'X'
	if want := (wire.Row{Key: "k", Value: []byte("old"), Found: true}); err != nil || !cmp.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := wiretest.Down(wire.Row{Key: "k", Value: []byte{}}); err == nil {
		t.Error("a row that is absent arrives with a value")
	}
	if empty, err := wiretest.Down(wire.Row{Key: "k", Found: true}); err != nil || !empty.Found || empty.Value == nil {
		t.Errorf("an empty row arrives as %+v, %v", empty, err)
	}
	done := wire.Done{Number: 3, Syscalls: []wire.Syscall{wire.StoreDelete{Key: "a"}, wire.StoreDelete{Key: "b"}}}
	up, frame, err := wiretest.Up(done, wire.Limits{})
	if err != nil || !cmp.Equal(up, done) || len(frame) == 0 {
		t.Errorf("got %+v, %v", up, err)
	}
	if _, _, err := wiretest.Up(done, wire.Limits{Syscalls: 1}); err == nil {
		t.Error("a frame above the limit arrives")
	}
}

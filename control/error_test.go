package control_test

import (
	"errors"
	"fmt"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

func TestErrorsAreFoundByTheirCode(t *testing.T) {
	target := error(&control.Error{Code: errcode.NotFound})
	err := fmt.Errorf("look: %w", control.Errorf(errcode.NotFound, "there is no vat v9"))
	if !errors.Is(err, target) {
		t.Error("an error of the same code is not found")
	}
	if errors.Is(control.Errorf(errcode.Invalid, "no"), target) {
		t.Error("an error of another code is found")
	}
	if errors.Is(err, control.Errorf(errcode.NotFound, "there is no vat v8")) {
		t.Error("two errors that say different things are the same")
	}
}

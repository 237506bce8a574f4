//go:build !quickjs

package engine_test

import (
	"errors"
	"testing"

	"ocapkernel.dev/jsvat/engine"
)

func TestWithoutTheModuleTheErrorNamesTheCommand(t *testing.T) {
	if _, err := engine.New(engine.Options{}); !errors.Is(err, engine.ErrNotBuilt) {
		t.Errorf("New: %v", err)
	}
	if engine.ID() != "" {
		t.Errorf("ID %q", engine.ID())
	}
}

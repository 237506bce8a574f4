package archtest_test

import (
	"testing"

	"ocapkernel.dev/internal/archtest"
)

// closedSets are the closed sets that this module must have; others are found.
var closedSets = []string{
	"wire.Delivery", "wire.Syscall", "wire.DownFrame", "wire.UpFrame", "kernel.Effect", "kernel.Event", "workers.Event",
}

func TestModule(t *testing.T) {
	m, err := archtest.Load(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, problems := range map[string][]archtest.Problem{
		"imports":     m.Imports(archtest.Table()),
		"determinism": m.Determinism(archtest.Table()),
		"closed sets": m.ClosedSets(closedSets...),
		"globals":     m.Globals(),
		"habits":      m.Habits(),
		"owners":      m.Owners(archtest.Ownerships()...),
		"steps":       m.Steps(archtest.Loops()...),
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}

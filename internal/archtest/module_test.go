package archtest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/archtest"
)

// closedSets are the closed sets of this module.
var closedSets = []string{
	"wire.Delivery", "wire.Syscall", "wire.DownFrame", "wire.UpFrame", "kernel.Effect", "kernel.Event", "supervisor.Event",
}

func TestModule(t *testing.T) {
	m, err := archtest.Load("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, problems := range map[string][]archtest.Problem{
		"imports":     m.Imports(archtest.Table()),
		"determinism": m.Determinism(archtest.Table()),
		"closed sets": m.ClosedSets(closedSets...),
		"globals":     m.Globals(),
		"habits":      m.Habits(),
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range problems {
				t.Error(p)
			}
		})
	}
}

func TestArchitectureShowsTheTable(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "<!-- imports: begin, from internal/archtest/table.go -->\n")
	got, _, _ := strings.Cut(rest, "<!-- imports: end -->")
	want := archtest.Markdown(archtest.Table())
	if diff := cmp.Diff(strings.TrimSpace(want), strings.TrimSpace(got)); diff != "" {
		t.Errorf("the import table in ARCHITECTURE.md is not that of table.go (-want +got):\n%s\nput this between its markers:\n%s", diff, want)
	}
}

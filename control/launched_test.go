package control_test

import (
	"encoding/json"
	"strings"
	"testing"

	"ocapkernel.dev/control"
)

func TestALaunchIsDescribedWhateverItsBootstrapAnswers(t *testing.T) {
	sub := control.Subcluster{ID: "s1", Root: "ko4"}
	for body, want := range map[string]string{
		`#1`: "", `#"$0"`: "", `#undefined`: "not smallcaps", ``: "not smallcaps", `{}`: "not smallcaps", "#\xff": "not smallcaps", `#"$7"`: "not smallcaps",
		`#` + strings.Repeat("[", 10000): "not smallcaps",
	} {
		l := control.NewLaunched(sub, control.Data{Body: body, Slots: []string{"ko4"}})
		if l.ID != "s1" || (l.ResultProblem == "") != (want == "") || !strings.Contains(l.ResultProblem, want) {
			t.Errorf("%.20q: got %+v, want a problem with %q", body, l, want)
		}
		if _, err := json.Marshal(l); err != nil {
			t.Errorf("%.20q: %v", body, err)
		}
	}
}

package cluster_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"ocapkernel.dev/cluster"
)

// The examples in the documentation are configurations, and the texts in it are ours.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	if len(examples) != 2 {
		t.Errorf("found %d examples", len(examples))
	}
	for _, example := range examples {
		cfg, err := cluster.Load(write(t, string(example[1])))
		if err != nil {
			t.Errorf("%v in\n%s", err, example[1])
			continue
		}
		if cfg.Limits != cluster.DefaultLimits() {
			t.Errorf("the defaults in the documentation are %+v", cfg.Limits)
		}
	}
	goldens, err := os.ReadFile("testdata/problems")
	if err != nil {
		t.Fatal(err)
	}
	texts := regexp.MustCompile("(?s)```text\n(.*?)```").FindSubmatch(page)
	for line := range strings.Lines(string(texts[1])) {
		if !strings.Contains(string(goldens), line) {
			t.Errorf("no golden text says %s", line)
		}
	}
}

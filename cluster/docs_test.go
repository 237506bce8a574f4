package cluster_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/cluster"
)

// The examples in the documentation are configurations, the last a declaration of system subclusters, and
// the texts in it are ours.
func TestDocs(t *testing.T) {
	page, err := os.ReadFile("../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	if len(examples) != 3 {
		t.Fatalf("found %d examples", len(examples))
	}
	for _, example := range examples[:2] {
		path := write(t, string(example[1]))
		if err := os.Mkdir(filepath.Join(filepath.Dir(path), "public"), 0o700); err != nil {
			t.Fatal(err)
		}
		cfg, err := cluster.Load(path)
		if err != nil {
			t.Errorf("%v in\n%s", err, example[1])
			continue
		}
		if cfg.Limits != cluster.DefaultLimits() {
			t.Errorf("the defaults in the documentation are %+v", cfg.Limits)
		}
		for _, c := range cfg.IO {
			if c.Type == cluster.ChannelSocket && (c.Direction != cluster.DirectionInOut || c.Unit != cluster.UnitLine ||
				c.MaxUnitBytes != 1<<20 || c.WriteTime != 10*time.Second) {
				t.Errorf("the defaults in the documentation are %+v", c)
			}
		}
	}
	path := writeSystem(t, string(examples[2][1]), map[string]string{"controller/cluster.json": with("")})
	if _, err := cluster.LoadSystem(path); err != nil {
		t.Errorf("%v in\n%s", err, examples[2][1])
	}
	var goldens string
	for _, name := range []string{"testdata/problems", "testdata/system"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		goldens += string(text)
	}
	texts := regexp.MustCompile("(?s)```text\n(.*?)```").FindAllSubmatch(page, -1)
	if len(texts) != 2 {
		t.Errorf("found %d texts", len(texts))
	}
	for _, text := range texts {
		for line := range strings.Lines(string(text[1])) {
			if !strings.Contains(goldens, "\n"+line) {
				t.Errorf("no golden text says %s", line)
			}
		}
	}
}

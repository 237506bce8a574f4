package cluster_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/cluster"
)

// writeSystem makes a directory with the declaration kernel.json and other files, and returns the path of it.
func writeSystem(t *testing.T, declaration string, others map[string]string) string {
	t.Helper()
	dir := filepath.Dir(write(t, ""))
	others["kernel.json"] = declaration
	for name, content := range others {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "kernel.json")
}

func TestLoadSystem(t *testing.T) {
	const file = `{"bootstrap": "c", "vats": {"c": {"module": "m", "worker": "../bin/teller"}}}`
	const inline = `{
		"bootstrap": "z", // é
		"vats": {"z": {"module": "n", "worker": "bin/teller"}},
		"io": {"journal": {"type": "file", "path": "journal"}},
	}`
	path := writeSystem(t, `// What runs always.
{"system": {
	"zebra": `+inline+`, /* and */
	"controller": "sub/cluster.json",
	"second": "sub/../sub/cluster.json",
}}`, map[string]string{"sub/cluster.json": file})
	sys, err := cluster.LoadSystem(path)
	if err != nil {
		t.Fatal(err)
	}
	if sys.Source != path {
		t.Errorf("source %q", sys.Source)
	}
	type summary struct{ Name, Bootstrap, Source, Hash, Worker string }
	var got []summary
	for _, s := range sys.Subclusters {
		got = append(got, summary{s.Name, s.Config.Bootstrap, s.Config.Source, s.Config.Hash, s.Config.Vats[0].Worker})
	}
	dir := filepath.Dir(path)
	other, teller := filepath.Join(dir, "sub/cluster.json"), filepath.Join(dir, "bin/teller")
	want := []summary{
		{"zebra", "z", path, fmt.Sprintf("%x", sha256.Sum256([]byte(inline))), teller},
		{"controller", "c", other, fmt.Sprintf("%x", sha256.Sum256([]byte(file))), teller},
		{"second", "c", other, fmt.Sprintf("%x", sha256.Sum256([]byte(file))), teller},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := sys.Subclusters[0].Config.IO[0].Path; got != filepath.Join(dir, "journal") {
		t.Errorf("the path in the declaration became %s", got)
	}
	for i, want := range []string{
		"kernel.json:5:28: system.zebra.vats.z.module: m",
		"sub/cluster.json:1:45: vats.c.module: m",
	} {
		p := sys.Subclusters[i].Config.ProblemAt("vats."+sys.Subclusters[i].Config.Bootstrap+".module", "m")
		if got := strings.TrimPrefix(p.String(), dir+"/"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestSystemWithoutSubclusters(t *testing.T) {
	sys, err := cluster.ParseSystem("kernel.json", []byte(`{"system": {}}`))
	if err != nil || len(sys.Subclusters) != 0 {
		t.Errorf("%+v, %v", sys, err)
	}
}

// Each transcript is a declaration with its mistakes, beside some cluster files, and the text that the user
// reads.
func TestSystemProblems(t *testing.T) {
	datadriven.RunTest(t, "testdata/system", func(t *testing.T, d *datadriven.TestData) string {
		path := writeSystem(t, d.Input, map[string]string{
			"good.json":         `{"bootstrap": "a", "vats": {"a": {"module": "m"}}}`,
			"bad/cluster.json":  "{\"bootstrap\": \"b\",\n\"vats\": {\"a\": {\"modul\": \"m\"}}}",
			"torn/cluster.json": "{\"bootstrap\": \"b\",\n",
		})
		sys, err := cluster.LoadSystem(path)
		switch d.Cmd {
		case "load":
		case "check": // against a kernel that has one module and no service
			err = cluster.CheckSystem(sys, err, func(cfg *cluster.Config, err error) error {
				err = cluster.CheckModules(cfg, err, func(string, string) ([]string, error) { return []string{"m"}, nil })
				return cluster.CheckServices(cfg, err, func(string) bool { return false }, nil)
			})
		default:
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
		}
		if err == nil {
			return "no problem\n"
		}
		if problems := (*cluster.Errors)(nil); !errors.As(err, &problems) || len(problems.Problems) == 0 {
			t.Fatalf("%s: error is a %T", d.Pos, err)
		}
		return strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "") + "\n"
	})
}

func TestUnusualSystems(t *testing.T) {
	dir := t.TempDir()
	if _, err := cluster.LoadSystem(dir); text(err) != dir+": this is a directory: name the configuration file in it" {
		t.Error(err)
	}
	other := errors.New("other")
	if err := cluster.CheckSystem(nil, other, nil); !errors.Is(err, other) {
		t.Error(err)
	}
	_, err := cluster.ParseSystem("kernel.json", []byte(`{"system": {`+numbered(65, `"s%d": 1,`)+`}}`))
	if got := text(err); got != "kernel.json:1:12: system: there are 65 subclusters: the limit is 64" {
		t.Error(got)
	}
	// Many mistakes in each of many subclusters.
	cfg := `{` + numbered(1000, `"x%d": 0,`) + `},`
	_, err = cluster.ParseSystem("kernel.json", []byte(`{"system": {`+strings.ReplaceAll(numbered(30, `"s%d": @`), "@", cfg)+`}}`))
	var errs *cluster.Errors
	if !errors.As(err, &errs) || len(errs.Problems) != 100 || errs.More != 30*1002-100 {
		t.Errorf("got %.200v", err)
	}
}

package backend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A plugin's socket lies two names below the run directory, as go-plugin names them, and a channel's one name below its
// directory. The path of each fits an address, however long the paths of the state and of the directory for temporary files are.
func TestSocketsFitAnAddress(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("t", 90))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, temporary := range []string{"/tmp", long, filepath.Join(long, "gone")} {
		t.Setenv("TMPDIR", temporary)
		for n := range 200 {
			state := "/" + strings.Repeat("s", n)
			for name, below := range map[string]string{
				runDirectory: "plugin-dir4294967295/plugin4294967295",
				"io":         strings.Repeat("c", 26),
			} {
				if path := filepath.Join(shortDir(state, name), below); len(path) > 107 {
					t.Fatalf("a state of %d bytes, with temporary files in %s, has %s, of %d bytes", n+1, temporary, path, len(path))
				}
			}
		}
		if got := shortDir("/state", runDirectory); got != "/state/run" {
			t.Errorf("got %s", got)
		}
		if one, other := shortDir("/"+strings.Repeat("s", 99), "io"), shortDir("/"+strings.Repeat("s", 98), "io"); one == other {
			t.Errorf("two states have %s", one)
		}
	}
}

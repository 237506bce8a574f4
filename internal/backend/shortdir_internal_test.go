package backend

import (
	"path/filepath"
	"strings"
	"testing"
)

// A plugin's socket lies two names below the run directory, as go-plugin names them, and its path fits an address.
func TestSocketOfAPluginFitsAnAddress(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	for n := range 200 {
		run := shortDir("/"+strings.Repeat("s", n), runDirectory)
		if path := filepath.Join(run, "plugin-dir4294967295", "plugin4294967295"); len(path) > 107 {
			t.Fatalf("a state of %d bytes has %s, of %d bytes", n+1, path, len(path))
		}
	}
	if got := shortDir("/state", runDirectory); got != "/state/run" {
		t.Errorf("got %s", got)
	}
}

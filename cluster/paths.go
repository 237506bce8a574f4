package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// absolute makes a path of the file absolute and clean, and says for a message what was added to it.
func (d *decoder) absolute(given string) (path, where string) {
	if filepath.IsAbs(given) {
		return filepath.Clean(given), ""
	}
	return filepath.Join(filepath.Dir(d.source), given), " (relative to the directory of this file)"
}

// unusable says what hinders a file or socket at path, which need not be there yet.
func unusable(path string) string {
	if strings.ContainsRune(path, 0) {
		return "has a zero byte in its path"
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "is a directory: name a file in it"
	}
	return ""
}

// missingDirectory says why there is no directory at path, or nothing.
func missingDirectory(path string) string {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist: make it, or correct the path"
	case err != nil:
		return fmt.Sprintf("cannot be used: %v", reason(err))
	case !info.IsDir():
		return "is not a directory: name the one that it is in"
	}
	return ""
}

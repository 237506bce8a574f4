package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// absolute returns a path of the file in absolute and clean form. where tells, for a message, against which
// directory.
func (d *decoder) absolute(given string) (path, where string) {
	if filepath.IsAbs(given) {
		return filepath.Clean(given), ""
	}
	return filepath.Join(filepath.Dir(d.source), given), " (relative to the directory of this file)"
}

// unusable returns the reason why there can be no file or socket at path, or "". The file need not exist yet.
func unusable(path string) string {
	if strings.ContainsRune(path, 0) {
		return "has a zero byte in its path"
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return "is a directory: name a file in it"
	}
	return ""
}

// missingDirectory returns the reason why there is no directory at path, or "".
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

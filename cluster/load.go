package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// Load reads the configuration in the file at path. Its error is [*Errors].
func Load(path string) (*Config, error) { return load(path, Parse) }

// Parse reads the configuration data, as if it were the content of the file called name: paths in it are
// relative to the directory of name. The worker programs that it names must exist. Its error is [*Errors].
func Parse(name string, data []byte) (*Config, error) {
	doc, source, root, err := parseDocument(name, data)
	if err != nil {
		return nil, err
	}
	return decode(doc, source, &root, data)
}

// load reads a file and has parse read its content.
func load[T any](path string, parse func(name string, data []byte) (*T, error)) (*T, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, &Errors{Problems: []Problem{{File: path, Message: err.Error()}}}
	}
	return parse(path, data)
}

// parseDocument returns a file's content as a document, with the absolute path of the file and the document's root.
func parseDocument(name string, data []byte) (doc *document, source string, root hujson.Value, err error) {
	source, err = filepath.Abs(name)
	if err != nil {
		return nil, "", root, &Errors{Problems: []Problem{{File: name, Message: fmt.Sprintf("find the file's directory: %v", err)}}}
	}
	if err := storablePath(name, source); err != nil {
		return nil, "", root, err
	}
	doc = newDocument(name, data)
	root, err = doc.parse()
	return doc, source, root, err
}

// storablePath refuses a file whose path is not UTF-8. Other paths are made relative to it, and all of them are
// kept and shown as text, which would alter them.
func storablePath(name, source string) error {
	if utf8.ValidString(source) {
		return nil
	}
	return &Errors{Problems: []Problem{{
		File: name, Message: fmt.Sprintf("its path %q is not UTF-8: rename the file or the directory", source),
	}}}
}

// decode reads a configuration from its root in doc; text is its part of the text of doc.
func decode(doc *document, source string, root *hujson.Value, text []byte) (*Config, error) {
	hash := sha256.Sum256(text)
	cfg := &Config{Source: source, Hash: hex.EncodeToString(hash[:]), doc: doc}
	d := &decoder{doc: doc, source: source}
	d.cluster(root, cfg)
	if err := d.errs.err(); err != nil {
		d.errs.partial = cfg
		return nil, err
	}
	return cfg, nil
}

// ProblemAt returns a problem that the caller found, at the place of field. If the file does not have the
// field, the place is that of the nearest field around it.
func (c *Config) ProblemAt(field, message string) Problem {
	for path := field; path != ""; path = parent(path) {
		if offset, ok := c.doc.places[path]; ok {
			return c.doc.problem(offset, field, "%s", message)
		}
	}
	return c.doc.problem(c.doc.places[""], field, "%s", message)
}

func parent(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}

// readFile reads a regular file, and no more of it than a configuration may have, so that neither a pipe nor a
// disk image hangs the caller. Its errors are for a person.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("there is no such file")
	case err != nil:
		return nil, fmt.Errorf("the file cannot be read: %w", reason(err))
	case info.IsDir():
		return nil, errors.New("this is a directory: name the configuration file in it")
	case !info.Mode().IsRegular():
		return nil, errors.New("this is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", reason(err))
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("the file cannot be read: %w", reason(err))
	}
	return data, nil
}

// reason returns an error of the file system without the operation and the path.
func reason(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	return err
}

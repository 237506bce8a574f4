package cluster

import (
	"cmp"
	"errors"
	"path/filepath"
	"slices"

	"github.com/tailscale/hujson"

	"ocapkernel.dev/internal/limits"
)

const maxSystemSubclusters = limits.Systems

// System is a declaration of system subclusters without mistakes: the subclusters that a kernel keeps launched,
// and that may have services which other subclusters may not.
type System struct {
	// Source is the absolute path of the file.
	Source string
	// Subclusters are in the order of the file. There may be none.
	Subclusters []SystemSubcluster
}

// SystemSubcluster is one of a [System].
type SystemSubcluster struct {
	// Name is unique in the declaration, and has the form of a vat's name.
	Name   string
	Config *Config
}

// declared is a declaration with mistakes.
type declared struct {
	source string
	// name is the name of the file, for messages.
	name string
	// own are the mistakes outside of the configurations.
	own Errors
	// parts are the configurations, in order: each without mistakes, or with its mistakes in err.
	parts []declaredPart
}

type declaredPart struct {
	name string
	cfg  *Config
	err  error
}

// LoadSystem reads the declaration in the file at path, and the configurations that it names. Its error is
// [*Errors], with the mistakes in all of them.
func LoadSystem(path string) (*System, error) { return load(path, ParseSystem) }

// ParseSystem reads the declaration data, as if it were the content of the file called name: paths in it, also
// in configurations that stand in it, are relative to the directory of name. The configuration files and worker
// programs that it names must exist. Its error is [*Errors].
func ParseSystem(name string, data []byte) (*System, error) {
	doc, source, root, err := parseDocument(name, data)
	if err != nil {
		return nil, err
	}
	s := &declared{source: source, name: name}
	d := &decoder{doc: doc, source: source}
	s.parts = d.system(&root)
	s.own = d.errs
	return s.system()
}

// CheckSystem takes the results of [LoadSystem] or [ParseSystem], and adds the mistakes that check finds in
// each configuration. check gets the arguments of [CheckModules] or [CheckServices] and returns their result.
// The error is [*Errors].
func CheckSystem(sys *System, err error, check func(cfg *Config, err error) error) error {
	var s *declared
	var errs *Errors
	switch {
	case err == nil:
		s = &declared{source: sys.Source, name: sys.Source}
		for _, sub := range sys.Subclusters {
			s.parts = append(s.parts, declaredPart{name: sub.Name, cfg: sub.Config})
		}
	case !errors.As(err, &errs) || errs.system == nil:
		return err
	default:
		s = errs.system
	}
	for i, p := range s.parts {
		if p.cfg != nil || p.err != nil {
			s.parts[i].err = check(p.cfg, p.err)
		}
	}
	_, err = s.system()
	return err
}

// system reads the whole file.
func (d *decoder) system(root *hujson.Value) []declaredPart {
	o := d.object(root, "", []string{"system"})
	if root.Value.Kind() != '{' {
		return nil
	}
	v := o.fields["system"]
	if v == nil {
		d.problem(root, "", `"system" is missing: give the subclusters, as in {"controller": "controller/cluster.json"}`)
		return nil
	}
	entries := d.entries(v, "system")
	if len(entries) > maxSystemSubclusters {
		d.problem(v, "system", "there are %d subclusters: the limit is %d", len(entries), maxSystemSubclusters)
		return nil
	}
	var parts []declaredPart
	for _, e := range entries {
		if !validVatName(e.name) {
			d.problem(e.at, "system", "%s is not a name for a subcluster: "+
				"expected a letter, then up to 63 letters, digits, '_' and '-'", quote(e.name))
		}
		parts = append(parts, d.subcluster(e, join("system", e.name)))
	}
	return parts
}

// subcluster reads one configuration: one in a file of its own, or one that stands in this file.
func (d *decoder) subcluster(e entry, path string) declaredPart {
	p := declaredPart{name: e.name}
	switch kind(e.value) {
	case kindString:
		given := e.value.Value.(hujson.Literal).String()
		if given == "" {
			d.problem(e.value, path, "the path is empty: name a cluster file")
			return p
		}
		_, where := d.absolute(given)
		name := filepath.Clean(given)
		if where != "" {
			name = filepath.Join(filepath.Dir(d.doc.name), given)
		}
		data, err := readFile(name)
		if err != nil {
			d.problem(e.value, path, "the cluster file %s%s: %v", quote(given), where, err)
			return p
		}
		p.cfg, p.err = Parse(name, data)
	case kindObject:
		doc := newDocument(d.doc.name, d.doc.data)
		doc.within = path
		p.cfg, p.err = decode(doc, d.source, e.value, doc.data[e.value.StartOffset:e.value.EndOffset])
	default:
		d.problem(e.value, path, "expected the path of a cluster file, or a cluster { … }, got %s", kind(e.value))
	}
	return p
}

// system returns the declaration without mistakes, or all mistakes: first those in its own file in the order of
// the file, then those in the files that it names. A file that is named twice has its mistakes once.
func (s *declared) system() (*System, error) {
	sys := &System{Source: s.source}
	all := &Errors{system: s, More: s.own.More}
	var others []Problem
	seen := map[Problem]bool{}
	take := func(problems []Problem) {
		for _, p := range problems {
			switch {
			case seen[p]:
			case p.File == s.name:
				all.Problems = append(all.Problems, p)
			default:
				others = append(others, p)
			}
			seen[p] = true
		}
	}
	take(s.own.Problems)
	for _, p := range s.parts {
		sys.Subclusters = append(sys.Subclusters, SystemSubcluster{p.name, p.cfg})
		if p.err == nil {
			continue
		}
		var errs *Errors
		if !errors.As(p.err, &errs) {
			errs = &Errors{Problems: []Problem{{File: s.name, Field: join("system", p.name), Message: p.err.Error()}}}
		}
		take(errs.Problems)
		all.More += errs.More
	}
	slices.SortStableFunc(all.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	all.Problems = append(all.Problems, others...)
	if n := len(all.Problems) - maxProblems; n > 0 {
		all.Problems, all.More = all.Problems[:maxProblems], all.More+n
	}
	if len(all.Problems) == 0 {
		return sys, nil
	}
	return nil, all
}

package controltest

import (
	"context"
	"slices"
	"strings"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// FindVat implements [control.Backend].
func (f *Fake) FindVat(_ context.Context, vat string) (control.FoundVat, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v, err := f.vat(vat)
	if err != nil {
		return control.FoundVat{}, err
	}
	return control.FoundVat{ID: v.ID, Name: v.Name, Subcluster: v.Subcluster, Root: rootOf(v)}, nil
}

// rootOf returns the root of a vat: a fake's vat v7 has ko7.
func rootOf(v *control.Vat) string { return "ko" + strings.TrimPrefix(v.ID, "v") }

// subcluster finds a subcluster by its id or name. The fake's mu is held.
func (f *Fake) subcluster(name string) (control.Subcluster, error) {
	for _, named := range []func(control.Subcluster) bool{
		func(s control.Subcluster) bool { return s.ID == name },
		func(s control.Subcluster) bool { return s.System == name },
	} {
		if i := slices.IndexFunc(f.mu.clusters, named); i >= 0 {
			return f.mu.clusters[i], nil
		}
	}
	return control.Subcluster{}, control.Errorf(errcode.NotFound, "there is no subcluster %s", name)
}

// vat finds a vat by its id or name. The fake's mu is held.
func (f *Fake) vat(name string) (*control.Vat, error) {
	var found []*control.Vat
	sub, member, both := strings.Cut(name, "/")
	for i := range f.mu.vats {
		v := &f.mu.vats[i]
		switch s, err := f.subcluster(sub); {
		case v.ID == name:
			return v, nil
		case both && err == nil && v.Subcluster == s.ID && v.Name == member, !both && v.Name == name:
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return nil, control.Errorf(errcode.NotFound, "there is no vat %s", name)
	case 1:
		return found[0], nil
	}
	return nil, control.Errorf(errcode.Conflict, "%d vats are named %s: write SUBCLUSTER/%s", len(found), name, name)
}

// target finds the object of a call. The fake's mu is held.
func (f *Fake) target(name string) (string, error) {
	if control.CheckKRef(name) == nil {
		return name, nil
	}
	s, err := f.subcluster(name)
	if err == nil {
		return s.Root, nil
	}
	v, vatErr := f.vat(name)
	switch {
	case vatErr == nil:
		return rootOf(v), nil
	case strings.Contains(name, "/") || control.CodeOf(vatErr) == errcode.Conflict:
		return "", vatErr
	}
	return "", err
}

package host

import (
	"context"
	"fmt"
	"strings"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
)

// FindVat is [Shell.FindVat].
func (d *directory) FindVat(ctx context.Context, name string) (kernel.Vat, error) {
	return look(ctx, d.core, func() (kernel.Vat, error) {
		id, err := d.vatNamed(name)
		if err != nil {
			return kernel.Vat{}, err
		}
		v, found, err := d.machine.Vat(id)
		if err == nil && !found {
			err = notThere("vat", name)
		}
		return v, err
	})
}

// FindSubcluster is [Shell.FindSubcluster].
func (d *directory) FindSubcluster(ctx context.Context, name string) (kernel.Subcluster, error) {
	return look(ctx, d.core, func() (kernel.Subcluster, error) { return d.subNamed(name) })
}

func notThere(what, name string) error {
	return &kernel.Refusal{Code: errcode.NotFound, Detail: fmt.Sprintf("there is no %s %s", what, name)}
}

func (d *directory) subNamed(name string) (kernel.Subcluster, error) {
	if id, ok := kernel.ParseSubID(name); ok {
		if sub, found, err := d.machine.Subcluster(id); found || err != nil {
			return sub, err
		}
	}
	sub, found, err := d.machine.SystemNamed(name)
	if err == nil && !found {
		err = notThere("subcluster", name)
	}
	return sub, err
}

func (d *directory) vatNamed(name string) (kernel.VatID, error) {
	if sub, member, both := strings.Cut(name, "/"); both {
		s, err := d.subNamed(sub)
		if err != nil {
			return "", err
		}
		for _, v := range s.Vats {
			if v.Name == member {
				return v.Vat, nil
			}
		}
		return "", notThere("vat", fmt.Sprintf("%s in subcluster %s", member, s.ID))
	}
	if id, ok := kernel.ParseVatID(name); ok {
		if _, found, err := d.machine.Vat(id); found || err != nil {
			return id, err
		}
	}
	const most = 5
	var found []string
	var id kernel.VatID
	n := 0
	for _, v := range d.vats[name] {
		if n < most { // beyond, the vats that are removed already count, too
			if _, there, err := d.machine.Vat(v.vat); err != nil {
				return "", err
			} else if !there {
				continue
			}
			found = append(found, fmt.Sprintf("%s/%s", v.sub, name))
		}
		id = v.vat
		n++
	}
	switch n {
	case 0:
		return "", notThere("vat", name)
	case 1:
		return id, nil
	}
	if n > most {
		found = append(found, "…")
	}
	return "", &kernel.Refusal{Code: errcode.Conflict, Detail: fmt.Sprintf("%d vats are named %s: say which: %s", n, name, strings.Join(found, ", "))}
}

// target finds the object or promise that a host names: a kref, a subcluster, which stands for the root of its bootstrap
// vat, or a vat, which stands for its root. If that is in a subcluster that is launching it returns the subcluster's id
// instead.
func (d *directory) target(name string) (kref kernel.KRef, launching kernel.SubID, err error) {
	if kref, ok := kernel.ParseKRef(name); ok {
		return kref, "", nil
	}
	sub, err := d.subNamed(name)
	root := sub.Root
	if err != nil && codeOf(err) == errcode.NotFound {
		id, vatErr := d.vatNamed(name)
		_, isID := kernel.ParseVatID(name)
		if vatErr != nil && codeOf(vatErr) == errcode.NotFound && !isID && !strings.Contains(name, "/") {
			return "", "", err // it is more likely that a subcluster was meant
		}
		if vatErr != nil {
			return "", "", vatErr
		}
		v, found, err := d.machine.Vat(id)
		if err == nil && !found {
			err = notThere("vat", name)
		}
		if err != nil {
			return "", "", err
		}
		if sub, _, err = d.machine.Subcluster(v.Sub); err != nil {
			return "", "", err
		}
		root = v.Root
	} else if err != nil {
		return "", "", err
	}
	switch sub.State {
	case kernel.SubLaunching:
		return "", sub.ID, nil
	case kernel.SubFailed:
		return "", "", &LaunchError{sub.ID, sub.Why}
	}
	return root, "", nil
}

package host

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"ocapkernel.dev/kernel"
)

// FindVat finds the vat that a person names: by its id (v3), by its subcluster and name (s1/mint, or
// controller/worker for a vat of a system subcluster), or by its name alone, if no other vat has it. An id goes before a
// name that looks like one.
func (k *Shell) FindVat(ctx context.Context, name string) (kernel.Vat, error) {
	return look(ctx, k, func() (kernel.Vat, error) {
		id, err := k.vatNamed(name)
		if err != nil {
			return kernel.Vat{}, err
		}
		v, found, err := k.machine.Vat(id)
		if err == nil && !found {
			err = notThere("vat", name)
		}
		return v, err
	})
}

// FindSubcluster finds the subcluster that a person names: by its id (s1), or a system subcluster by its name.
func (k *Shell) FindSubcluster(ctx context.Context, name string) (kernel.Subcluster, error) {
	return look(ctx, k, func() (kernel.Subcluster, error) { return k.subNamed(name) })
}

func notThere(what, name string) error {
	return &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("there is no %s %s", what, name)}
}

func (k *Shell) subNamed(name string) (kernel.Subcluster, error) {
	if id, ok := kernel.ParseSubID(name); ok {
		if sub, found, err := k.machine.Subcluster(id); found || err != nil {
			return sub, err
		}
	}
	sub, found, err := k.machine.SystemNamed(name)
	if err == nil && !found {
		err = notThere("subcluster", name)
	}
	return sub, err
}

func (k *Shell) vatNamed(name string) (kernel.VatID, error) {
	if sub, member, both := strings.Cut(name, "/"); both {
		s, err := k.subNamed(sub)
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
		if _, found, err := k.machine.Vat(id); found || err != nil {
			return id, err
		}
	}
	const most = 5
	var found []string
	var id kernel.VatID
	n := 0
	for _, v := range k.directory.vats[name] {
		if n < most { // beyond, the vats that are removed already count, too
			if _, there, err := k.machine.Vat(v.vat); err != nil {
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
	return "", &kernel.Refusal{Code: kernel.CodeConflict, Detail: fmt.Sprintf("%d vats are named %s: say which: %s", n, name, strings.Join(found, ", "))}
}

// target finds the object or promise that a host names: a kref, a subcluster, which stands for the root of its bootstrap
// vat, or a vat, which stands for its root. If that is in a subcluster that is launching it returns the subcluster's id
// instead.
func (k *Shell) target(name string) (kref kernel.KRef, launching kernel.SubID, err error) {
	if kref, ok := kernel.ParseKRef(name); ok {
		return kref, "", nil
	}
	sub, err := k.subNamed(name)
	root := sub.Root
	if err != nil && codeOf(err) == kernel.CodeNotFound {
		id, vatErr := k.vatNamed(name)
		_, isID := kernel.ParseVatID(name)
		if vatErr != nil && codeOf(vatErr) == kernel.CodeNotFound && !isID && !strings.Contains(name, "/") {
			return "", "", err // it is more likely that a subcluster was meant
		}
		if vatErr != nil {
			return "", "", vatErr
		}
		v, found, err := k.machine.Vat(id)
		if err == nil && !found {
			err = notThere("vat", name)
		}
		if err != nil {
			return "", "", err
		}
		if sub, _, err = k.machine.Subcluster(v.Sub); err != nil {
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

// whyNotThere returns nil if a target that was not found is a system subcluster, or in one, whose launch is to come: because
// its turn has not come, or because it is loaded anew. Otherwise it returns notFound, with the reason if the launch failed.
func (k *Shell) whyNotThere(target string, notFound error) error {
	name, _, _ := strings.Cut(target, "/")
	if _, ok := k.declared(name); !ok {
		return notFound
	}
	if k.turns.has(name) {
		return nil
	}
	reloads, err := k.machine.Reloads()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(reloads, func(r kernel.Reload) bool { return r.System == name }) {
		return nil
	}
	if why := k.turns.failed[name]; why != "" {
		return &kernel.Refusal{Code: kernel.CodeNotFound, Detail: fmt.Sprintf("system subcluster %s does not run: %s", name, why)}
	}
	return notFound
}

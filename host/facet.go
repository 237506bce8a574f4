package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// FacetName is the name of the kernel's own service, for system subclusters: docs/system.md describes it.
const FacetName = "kernelFacet"

// facet gives vats the operations of the host that wait for the loop, as every caller does.
type facet struct {
	operator *operator
	subs     *subclusters
	vats     *vats
}

// Ping answers.
func (f *facet) Ping() string { return "pong" }

// TerminateSubcluster removes a subcluster, and answers when nothing is left of it.
func (f *facet) TerminateSubcluster(ctx context.Context, id string) error {
	s, err := subID(id)
	if err != nil {
		return err
	}
	err = f.subs.Terminate(ctx, s)
	if c, _ := service.Caller(ctx); c.Again && codeOf(err) == errcode.NotFound {
		return nil // it was done, and the answer was lost with the kernel
	}
	return coded(err)
}

func vatID(id string) (kernel.VatID, error) {
	v, ok := kernel.ParseVatID(id)
	if !ok {
		return "", fmt.Errorf("%.80q is no vat's id: want v1", id)
	}
	return v, nil
}

// RestartVat gives a vat a fresh worker; see [Shell.Restart].
func (f *facet) RestartVat(ctx context.Context, id string) error {
	v, err := vatID(id)
	if err != nil {
		return err
	}
	return coded(f.vats.Restart(ctx, v, false))
}

// TerminateVat ends one vat.
func (f *facet) TerminateVat(ctx context.Context, id string) error {
	v, err := vatID(id)
	if err != nil {
		return err
	}
	err = f.operator.TerminateVat(ctx, v)
	if c, _ := service.Caller(ctx); c.Again && codeOf(err) == errcode.NotFound {
		return nil
	}
	return coded(err)
}

// facetPing is how long a vat may take for a sign of life that a vat has asked for.
const facetPing = 5 * time.Second

// PingVat asks the worker of a vat, if it has one.
func (f *facet) PingVat(ctx context.Context, id string) (string, error) {
	v, err := vatID(id)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, facetPing)
	defer cancel()
	s, err := f.operator.PingVat(ctx, v)
	return s, coded(err)
}

// Revoke makes an object refuse every message, given the object or its name.
func (f *facet) Revoke(ctx context.Context, object json.RawMessage) error {
	kref, err := f.object(object)
	if err != nil {
		return err
	}
	return coded(f.operator.Revoke(ctx, kref))
}

// IsRevoked reports whether an object is revoked.
func (f *facet) IsRevoked(ctx context.Context, object json.RawMessage) (bool, error) {
	kref, err := f.object(object)
	if err != nil {
		return false, err
	}
	revoked, err := f.operator.IsRevoked(ctx, kref)
	return revoked, coded(err)
}

// object reads a reference, or the name of one.
func (f *facet) object(text json.RawMessage) (kernel.KRef, error) {
	var name string
	if json.Unmarshal(text, &name) != nil {
		var ref service.Ref
		if err := json.Unmarshal(text, &ref); err != nil {
			return "", fmt.Errorf("want an object, or its name such as ko4")
		}
		name = ref.String()
	}
	kref, ok := kernel.ParseKRef(name)
	if !ok {
		return "", fmt.Errorf("%.80q is no object's name: want ko4", name)
	}
	return kref, nil
}

// Reset removes all subclusters and begins another epoch; see [Shell.Reset].
func (f *facet) Reset(ctx context.Context) error { return coded(f.subs.Reset(ctx)) }

func subID(id string) (kernel.SubID, error) {
	s, ok := kernel.ParseSubID(id)
	if !ok {
		return "", fmt.Errorf("%.80q is no subcluster's id: want s1", id)
	}
	return s, nil
}

// coded gives a refusal the form that vats branch on, as far as its code is one that they know.
func coded(err error) error {
	r, ok := err.(*kernel.Refusal)
	switch {
	case !ok:
		return err
	case slices.Contains(errcode.Rejections(), r.Code):
		return &service.Error{Code: r.Code, Message: r.Detail}
	}
	return errors.New(r.Detail)
}

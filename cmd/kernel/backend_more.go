package main

import (
	"context"

	"ocapkernel.dev/control"
)

// unsupported is what these methods answer until the host has them.
func unsupported(what string) error {
	return control.Errorf(control.CodeUnsupported, "this kernel cannot %s yet", what)
}

// IO is part of control.Backend.
func (b *backend) IO(context.Context) ([]control.Channel, error) {
	return nil, unsupported("list its IO channels")
}

// Services is part of control.Backend.
func (b *backend) Services(context.Context) ([]control.Service, error) {
	return nil, unsupported("list its services")
}

// System is part of control.Backend.
func (b *backend) System(context.Context) ([]control.System, error) {
	return nil, unsupported("list its system subclusters")
}

// Reload is part of control.Backend.
func (b *backend) Reload(context.Context, string) ([]control.Subcluster, error) {
	return nil, unsupported("reload a subcluster")
}

// PingVat is part of control.Backend.
func (b *backend) PingVat(context.Context, string) (string, error) {
	return "", unsupported("ping a vat")
}

// TerminateVat is part of control.Backend.
func (b *backend) TerminateVat(context.Context, string) error {
	return unsupported("terminate one vat")
}

// TerminateAllVats is part of control.Backend.
func (b *backend) TerminateAllVats(context.Context) error {
	return unsupported("terminate all vats")
}

// Revoke is part of control.Backend.
func (b *backend) Revoke(context.Context, string) error {
	return unsupported("revoke an object")
}

// IsRevoked is part of control.Backend.
func (b *backend) IsRevoked(context.Context, string) (bool, error) {
	return false, unsupported("say whether an object was revoked")
}

// Inspect is part of control.Backend.
func (b *backend) Inspect(context.Context, string) (control.Inspection, error) {
	return control.Inspection{}, unsupported("inspect an object")
}

// CollectGarbage is part of control.Backend.
func (b *backend) CollectGarbage(context.Context) error {
	return unsupported("collect garbage")
}

// ClearState is part of control.Backend.
func (b *backend) ClearState(context.Context) error {
	return unsupported("clear its state")
}

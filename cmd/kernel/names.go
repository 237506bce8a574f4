package main

import (
	"context"
	"strconv"
	"strings"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// isVatID reports whether s is an id, and no name that the kernel would have to look up.
func isVatID(s string) bool {
	digits, ok := strings.CutPrefix(s, "v")
	n, err := strconv.ParseUint(digits, 10, 64)
	return ok && err == nil && n > 0 && digits[0] != '0'
}

// vatID returns the id of the vat that the flag --vat names; empty stays empty. An id needs no kernel.
func (a *app) vatID(ctx context.Context, name string) (id string, err error) {
	if name == "" || isVatID(name) {
		return name, nil
	}
	if err := control.CheckVat(name); err != nil {
		return "", usagef("--vat: %w", err)
	}
	err = a.ask(ctx, 0, func(ctx context.Context, client *control.Client) error {
		found, err := client.FindVat(ctx, name)
		id = found.ID
		return err
	})
	if control.CodeOf(err) == errcode.NotRunning {
		return "", &hinted{err, "only a running kernel knows names; write the vat's id, such as v3"}
	}
	return id, err
}

package backend

import (
	"errors"
	"fmt"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// ConfigError turns the mistakes of a configuration into an error that prints one line for each, and
// that crosses the control protocol unchanged.
func ConfigError(path string, err error) error {
	var list *cluster.Errors
	if !errors.As(err, &list) {
		return err
	}
	n := len(list.Problems) + list.More
	out := control.Errorf(errcode.Invalid, "%s in %s", mistakes(n), path)
	for _, p := range list.Problems {
		out.Details = append(out.Details, p.String())
	}
	if list.More > 0 {
		out.Details = append(out.Details, fmt.Sprintf("and %d more", list.More))
	}
	return out
}

func mistakes(n int) string {
	if n == 1 {
		return "1 mistake"
	}
	return fmt.Sprintf("%d mistakes", n)
}

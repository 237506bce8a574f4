package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

func (a *app) versionCommand() *cobra.Command {
	return a.withJSON(&cobra.Command{
		Use:   "version",
		Short: "Print the version of this program",
		Args:  exactly(),
		RunE: func(*cobra.Command, []string) error {
			v := map[string]any{"version": a.version, "protocol": control.ProtocolVersion, "go": runtime.Version()}
			return a.print(v, func(w io.Writer) { fmt.Fprintln(w, a.versionLine()) })
		},
	})
}

func (a *app) versionLine() string {
	return fmt.Sprintf("kernel %s (%s)", a.version, runtime.Version())
}

package backend

import (
	"fmt"
	"os"
	"path/filepath"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/wire"
)

// checkWorker returns an error if a kernel has started this process as a worker. Such a process would run a kernel, which
// would start the same program as a worker, and so on without end.
func checkWorker() error {
	if os.Getenv(wire.CookieKey) != wire.CookieValue {
		return nil
	}
	return control.Errorf(errcode.Invalid, "a kernel has started this program as a worker program, and it begins another kernel: "+
		"begin main with ocapkernel.Worker(vat.Modules{…}), or name another program as worker")
}

// workerProgram returns the absolute path of a worker program; the empty name is vatworker, beside this program.
func workerProgram(name string) (string, error) {
	if name != "" {
		return filepath.Abs(name)
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the worker program: %w", err)
	}
	return filepath.Join(filepath.Dir(self), "vatworker"), nil
}

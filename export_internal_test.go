package ocapkernel

import "ocapkernel.dev/internal/backend"

// Backend returns the kernel's backend, by which tests do the operator's work. A program that embeds the kernel cannot get it.
func (k *Kernel) Backend() *backend.Backend { return k.b }

package ocapkernel

import "ocapkernel.dev/internal/backend"

// Backend gives tests what an operator has, and a program that embeds the kernel has not.
func (k *Kernel) Backend() *backend.Backend { return k.b }

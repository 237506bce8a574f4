package host

import (
	"fmt"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// CheckState returns nil if a kernel can be opened on a state, otherwise an error as of [Open]. It does not change the state.
func CheckState(r storage.Reader, w *storage.Witness) error {
	m, first, err := kernel.Open(r, (&storage.Mem{}).Limits(), newEpoch(0))
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	return w.Check(stored(m, first))
}

// CheckRows reads a whole state, and returns its problems: those that [kernel.Check] finds, and configurations of vats from
// which no worker could be started.
func CheckRows(r storage.Reader) (problems []string, err error) {
	if problems, err = kernel.Check(r); err != nil {
		return nil, err
	}
	m, _, err := kernel.Open(r, (&storage.Mem{}).Limits(), newEpoch(0))
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	vats, err := m.Vats()
	for _, v := range vats {
		if v.Corrupt == nil && !v.Terminated { // else the row is reported already, or the vat never runs again
			if _, err := cluster.UnmarshalStored(v.Config); err != nil {
				problems = append(problems, fmt.Sprintf("configuration of %s: %v", v.ID, err))
			}
		}
	}
	return problems, err
}

package backend

import (
	"fmt"

	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/storage"
)

// CheckRows reads a whole state, and returns its problems: those of [host.CheckRows], and those in the stores of the vats, as
// [liveslots.CheckStore] finds them.
func CheckRows(r storage.Reader) (problems []string, err error) {
	if problems, err = host.CheckRows(r); err != nil {
		return nil, err
	}
	view := kernel.NewView(r)
	vats, err := view.Vats()
	if err != nil {
		return nil, err
	}
	for _, v := range vats {
		if v.Corrupt != nil || v.Terminated {
			continue // it is reported already, or its store is being removed
		}
		names, err := view.Names(v.ID)
		if err != nil {
			return nil, fmt.Errorf("names of %s: %w", v.ID, err)
		}
		found, err := liveslots.CheckStore(func(after string) (string, []byte, bool, error) {
			row, err := view.StoreNext(v.ID, "", after)
			return row.Key, row.Value, row.Found, err
		}, liveslots.Outside{Known: names.Known, Uncounted: names.Uncounted})
		if err != nil {
			return nil, fmt.Errorf("store of %s: %w", v.ID, err)
		}
		for _, what := range found {
			problems = append(problems, fmt.Sprintf("the store of %s: %s", v.ID, what))
		}
	}
	return problems, nil
}

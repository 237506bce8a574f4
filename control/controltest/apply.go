package controltest

import (
	"context"
	"strings"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
)

// Apply implements [control.Backend]. A text that contains "removed" is refused, unless Replace allows it; any other text that differs from the one
// that runs changes the worker of the one vat, and adds a vat and a channel.
func (f *Fake) Apply(_ context.Context, r control.ApplyRequest) (control.Applied, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.mu.clusters {
		s := &f.mu.clusters[i]
		if r.Subcluster != s.ID && (r.Subcluster != "" || s.Source != r.Path) {
			continue
		}
		out := control.Applied{Subcluster: s.ID, DryRun: r.DryRun}
		switch {
		case s.Hash == hash(string(r.Config)):
			return out, nil
		case strings.Contains(string(r.Config), "removed") && r.Replace == s.ID:
			out.Changes = []control.Change{
				{Field: "vats.root.worker", Kind: "changed", Applies: control.AppliesStart, Old: "nothing", New: `"/w"`},
				{Field: "vats.teller", Kind: "removed", Applies: control.AppliesReplace, Old: "module bank.teller"},
			}
			out.Replaced, out.Deleted = s.ID, []control.DeletedVat{{Name: "mint", ID: "v1"}, {Name: "teller", ID: "v2"}}
			if !r.DryRun {
				s.ID, s.Hash = "s70", hash(string(r.Config))
				out.Subcluster = s.ID
			}
			return out, nil
		case strings.Contains(string(r.Config), "removed"):
			err := control.Errorf(errcode.Conflict, "1 change cannot be made to %s, which keeps what it has stored; nothing is changed (--replace %s deletes what it has stored, and launches it anew)", s.ID, s.ID)
			err.Details = []string{r.Path + ":1:1: vats.teller: it is removed; it cannot be taken away from what runs"}
			return control.Applied{}, err
		}
		out.Changes = []control.Change{
			{Field: "vats.root.worker", Kind: "changed", Applies: control.AppliesStart, Old: "nothing", New: `"/w"`},
			{Field: "vats.more", Kind: "added", Applies: control.AppliesLive, New: "module bank.teller"},
			{Field: "io.door", Kind: "added", Applies: control.AppliesLive, New: "a socket channel"},
		}
		if !r.DryRun {
			s.Hash = hash(string(r.Config))
			out.Vats = []control.AddedVat{{Name: "more", ID: "v70", Root: "ko70"}}
			out.Services = []control.AddedService{{Name: "door", KRef: "ko71"}}
		}
		return out, nil
	}
	return control.Applied{}, control.Errorf(errcode.NotFound, "no subcluster runs that was launched from %s", r.Path)
}

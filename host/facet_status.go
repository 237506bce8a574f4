package host

import (
	"context"
	"encoding/json"

	"ocapkernel.dev/kernel"
)

// facetStatus is the answer of getStatus.
type facetStatus struct {
	Epoch       string            `json:"epoch"`
	Cranks      uint64            `json:"cranks"`
	DiskFull    bool              `json:"diskFull"`
	Subclusters []facetSubcluster `json:"subclusters"`
	Vats        []facetVat        `json:"vats"`
}

// facetVat is a vat, as getStatus lists it.
type facetVat struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Subcluster string `json:"subclusterId"`
}

// facetCluster is a subcluster with the configuration that it was launched with, as getSubcluster describes it.
type facetCluster struct {
	facetSubcluster
	Config json.RawMessage `json:"config"`
}

type facetSubcluster struct {
	ID     string            `json:"subcluster"`
	Root   string            `json:"root"`
	State  string            `json:"state"`
	System string            `json:"system,omitempty"`
	Vats   map[string]string `json:"vats"`
}

func facetSub(s kernel.Subcluster) facetSubcluster {
	out := facetSubcluster{ID: string(s.ID), Root: string(s.Root), State: s.State.String(), System: s.System, Vats: map[string]string{}}
	for _, v := range s.Vats {
		out.Vats[v.Name] = string(v.Vat)
	}
	return out
}

// GetStatus describes the kernel.
func (f *facet) GetStatus(ctx context.Context) (facetStatus, error) {
	s, err := f.operator.Status(ctx)
	out := facetStatus{Epoch: s.Epoch, Cranks: s.Cranks, DiskFull: s.DiskFull, Subclusters: []facetSubcluster{}, Vats: []facetVat{}}
	for _, sub := range s.Subclusters {
		out.Subclusters = append(out.Subclusters, facetSub(sub))
		if sub.State.Leaving() {
			continue // of its vats some are removed already
		}
		for _, v := range sub.Vats {
			out.Vats = append(out.Vats, facetVat{string(v.Vat), v.Name, string(sub.ID)})
		}
	}
	return out, coded(err)
}

// GetSubclusters lists the subclusters.
func (f *facet) GetSubclusters(ctx context.Context) ([]facetSubcluster, error) {
	s, err := f.GetStatus(ctx)
	return s.Subclusters, err
}

// GetSubcluster describes one subcluster, with its configuration; null if there is none.
func (f *facet) GetSubcluster(ctx context.Context, id string) (*facetCluster, error) {
	s, err := subID(id)
	if err != nil {
		return nil, err
	}
	sub, cfg, err := f.subs.subclusterConfig(ctx, s)
	if err != nil || sub == nil {
		return nil, coded(err)
	}
	out := &facetCluster{facetSubcluster: facetSub(*sub), Config: json.RawMessage("null")}
	if cfg != nil { // it is being removed
		out.Config, err = cfg.JSON()
	}
	return out, err
}

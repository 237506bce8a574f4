package host

import (
	"encoding/json"
	"fmt"
	"time"

	"ocapkernel.dev/cluster"
)

// storedConfig is a cluster's configuration as it is kept with the subcluster, to launch it again.
type storedConfig struct {
	Version     int               `json:"v"`
	Bootstrap   string            `json:"bootstrap"`
	BootstrapNs int64             `json:"bootstrapNs"`
	Vats        []json.RawMessage `json:"vats"`
	IO          []json.RawMessage `json:"io,omitempty"`
	Services    []json.RawMessage `json:"services,omitempty"`
	Source      string            `json:"source"`
	Hash        string            `json:"hash"`
}

const storedConfigVersion = 1

func marshalConfig(cfg *cluster.Config) ([]byte, error) {
	s := storedConfig{
		Version: storedConfigVersion, Bootstrap: cfg.Bootstrap, BootstrapNs: int64(cfg.Limits.Bootstrap), Source: cfg.Source, Hash: cfg.Hash,
	}
	var err error
	if s.Vats, err = marshalAll(cfg.Vats, cluster.MarshalStored); err != nil {
		return nil, err
	}
	if s.IO, err = marshalAll(cfg.IO, cluster.MarshalStoredChannel); err != nil {
		return nil, err
	}
	if s.Services, err = marshalAll(cfg.Services, cluster.MarshalStoredService); err != nil {
		return nil, err
	}
	return json.Marshal(s)
}

func unmarshalConfig(b []byte) (*cluster.Config, error) {
	var s storedConfig
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read stored configuration: %w", err)
	}
	if s.Version != storedConfigVersion {
		return nil, fmt.Errorf("read stored configuration: version %d is not known", s.Version)
	}
	cfg := &cluster.Config{Bootstrap: s.Bootstrap, Source: s.Source, Hash: s.Hash, Limits: cluster.DefaultLimits()}
	cfg.Limits.Bootstrap = time.Duration(s.BootstrapNs)
	var err error
	if cfg.Vats, err = unmarshalAll(s.Vats, cluster.UnmarshalStored); err != nil {
		return nil, err
	}
	if cfg.IO, err = unmarshalAll(s.IO, cluster.UnmarshalStoredChannel); err != nil {
		return nil, err
	}
	cfg.Services, err = unmarshalAll(s.Services, cluster.UnmarshalStoredService)
	return cfg, err
}

func marshalAll[T any](list []T, marshal func(T) ([]byte, error)) (out []json.RawMessage, err error) {
	for _, v := range list {
		b, err := marshal(v)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}

func unmarshalAll[T any](list []json.RawMessage, unmarshal func([]byte) (T, error)) (out []T, err error) {
	for _, b := range list {
		v, err := unmarshal(b)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

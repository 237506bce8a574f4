package cluster

import (
	"encoding/json"
	"fmt"
	"time"
)

// storedConfig is the stored form of a [Config].
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

// storedConfigVersion is the first field of a stored Config, as storedVersion is of a Vat.
const storedConfigVersion = 1

// MarshalStoredConfig returns the stored form of a configuration, from which a kernel can launch the subcluster again. The
// same value gives the same bytes. It fails if [MarshalStored], [MarshalStoredChannel] or [MarshalStoredService] fails.
func MarshalStoredConfig(cfg *Config) ([]byte, error) {
	s := storedConfig{
		Version: storedConfigVersion, Bootstrap: cfg.Bootstrap, BootstrapNs: int64(cfg.Limits.Bootstrap), Source: cfg.Source, Hash: cfg.Hash,
	}
	var err error
	if s.Vats, err = marshalAll(cfg.Vats, MarshalStored); err != nil {
		return nil, err
	}
	if s.IO, err = marshalAll(cfg.IO, MarshalStoredChannel); err != nil {
		return nil, err
	}
	if s.Services, err = marshalAll(cfg.Services, MarshalStoredService); err != nil {
		return nil, err
	}
	return encodeStored("configuration", cfg.Source, s)
}

// UnmarshalStoredConfig is the inverse of [MarshalStoredConfig]. It fails if b is not a result of MarshalStoredConfig.
func UnmarshalStoredConfig(b []byte) (*Config, error) {
	var s storedConfig
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("read stored configuration: %w", err)
	}
	if s.Version != storedConfigVersion {
		return nil, fmt.Errorf("read stored configuration: version %d is not known", s.Version)
	}
	cfg := &Config{Bootstrap: s.Bootstrap, Source: s.Source, Hash: s.Hash, Limits: DefaultLimits()}
	cfg.Limits.Bootstrap = time.Duration(s.BootstrapNs)
	var err error
	if cfg.Vats, err = unmarshalAll(s.Vats, UnmarshalStored); err != nil {
		return nil, err
	}
	if cfg.IO, err = unmarshalAll(s.IO, UnmarshalStoredChannel); err != nil {
		return nil, err
	}
	cfg.Services, err = unmarshalAll(s.Services, UnmarshalStoredService)
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

package cluster

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// The first fields of a stored Channel and a stored Service, as storedVersion is of a Vat.
const (
	storedChannelVersion = 1
	storedServiceVersion = 1
)

// storedChannel is the stored form of a [Channel].
type storedChannel struct {
	Version      int    `json:"v"`
	Name         string `json:"name"`
	Type         string `json:"type"`
	Path         string `json:"path,omitempty"`
	HostPort     string `json:"hostport,omitempty"`
	Direction    string `json:"direction"`
	Unit         string `json:"unit"`
	MaxUnitBytes int    `json:"maxUnitBytes"`
	WriteNs      int64  `json:"writeNs"`
}

// storedService is the stored form of a [Service].
type storedService struct {
	Version  int      `json:"v"`
	Name     string   `json:"name"`
	Service  string   `json:"service"`
	Root     string   `json:"root,omitempty"`
	ReadOnly bool     `json:"readOnly,omitempty"`
	Hosts    []string `json:"hosts,omitempty"`
}

// MarshalStoredChannel returns the stored form of a channel. The same value gives the same bytes. It fails only if the path
// is not UTF-8, as the path of a directory above the configuration may be.
func MarshalStoredChannel(c Channel) ([]byte, error) {
	if !utf8.ValidString(c.Path) {
		return nil, fmt.Errorf("store channel %q: its path %q is not UTF-8: rename the directory", c.Name, c.Path)
	}
	return encodeStored("channel", c.Name, storedChannel{
		Version:      storedChannelVersion,
		Name:         c.Name,
		Type:         string(c.Type),
		Path:         c.Path,
		HostPort:     c.HostPort,
		Direction:    string(c.Direction),
		Unit:         string(c.Unit),
		MaxUnitBytes: c.MaxUnitBytes,
		WriteNs:      int64(c.WriteTime),
	})
}

// UnmarshalStoredChannel is the inverse of [MarshalStoredChannel]. It fails if data is not a result of
// MarshalStoredChannel.
func UnmarshalStoredChannel(data []byte) (Channel, error) {
	var s storedChannel
	err := decodeStored(data, &s)
	switch {
	case err != nil:
	case s.Version != storedChannelVersion:
		err = fmt.Errorf("version %d is not known", s.Version)
	case !validVatName(s.Name):
		err = fmt.Errorf("%.80q is not a name for a channel", s.Name)
	case !slices.Contains(channelTypes, s.Type):
		err = fmt.Errorf("the type %.80q is not known", s.Type)
	case !slices.Contains(directions, s.Direction):
		err = fmt.Errorf("the direction %.80q is not known", s.Direction)
	case !slices.Contains(unitNames, s.Unit):
		err = fmt.Errorf("the unit %.80q is not known", s.Unit)
	}
	if err != nil {
		return Channel{}, fmt.Errorf("read stored channel: %w", err)
	}
	return Channel{
		Name:         s.Name,
		Type:         ChannelType(s.Type),
		Path:         s.Path,
		HostPort:     s.HostPort,
		Direction:    Direction(s.Direction),
		Unit:         UnitKind(s.Unit),
		MaxUnitBytes: s.MaxUnitBytes,
		WriteTime:    time.Duration(s.WriteNs),
	}, nil
}

// MarshalStoredService is like [MarshalStoredChannel], for a service and its root.
func MarshalStoredService(s Service) ([]byte, error) {
	if !utf8.ValidString(s.Root) {
		return nil, fmt.Errorf("store service %q: its root %q is not UTF-8: rename the directory", s.Name, s.Root)
	}
	return encodeStored("service", s.Name, storedService{
		Version:  storedServiceVersion,
		Name:     s.Name,
		Service:  s.Service,
		Root:     s.Root,
		ReadOnly: s.ReadOnly,
		Hosts:    s.Hosts,
	})
}

// UnmarshalStoredService is the inverse of [MarshalStoredService]. It fails if data is not a result of
// MarshalStoredService.
func UnmarshalStoredService(data []byte) (Service, error) {
	var s storedService
	err := decodeStored(data, &s)
	switch {
	case err != nil:
	case s.Version != storedServiceVersion:
		err = fmt.Errorf("version %d is not known", s.Version)
	case !ValidServiceName(s.Name):
		err = fmt.Errorf("%.80q is not a name for a service", s.Name)
	case !ValidServiceName(s.Service):
		err = fmt.Errorf("%.80q is not the name of a service", s.Service)
	}
	if err != nil {
		return Service{}, fmt.Errorf("read stored service: %w", err)
	}
	return Service{Name: s.Name, Service: s.Service, Root: s.Root, ReadOnly: s.ReadOnly, Hosts: s.Hosts}, nil
}

package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"ocapkernel.dev/internal/limits"
)

// storedVersion is the first field of a stored Vat. A later version of this package reads all earlier ones.
const storedVersion = 1

// storedVat is the stored form of a [Vat]. It is a type of its own, so that renaming a field of Vat does not make stored
// state unreadable.
type storedVat struct {
	Version     int             `json:"v"`
	Name        string          `json:"name"`
	Module      string          `json:"module"`
	Worker      string          `json:"worker,omitempty"`
	SHA256      string          `json:"sha256,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"`
	Restart     string          `json:"restart"`
	MaxRestarts int             `json:"maxRestarts"`
	OnFault     string          `json:"onFault"`
	// ReapInterval is nil for the default, which is all that an earlier version knew.
	ReapInterval *int `json:"reapInterval,omitempty"`
	// Sandbox is empty for the default, which is all that an earlier version knew.
	Sandbox    string `json:"sandbox,omitempty"`
	DeliveryNs int64  `json:"deliveryNs"`
	Syscalls   int    `json:"syscalls"`
	FrameBytes int    `json:"frameBytes"`
	Queue      int    `json:"queue"`
	Transcript int    `json:"transcript"`
}

// MarshalStored returns the stored form of a vat. The same value gives the same bytes. It fails only if Parameters is not
// JSON.
func MarshalStored(v Vat) ([]byte, error) {
	var reapInterval *int
	if v.ReapInterval != limits.ReapInterval {
		reapInterval = &v.ReapInterval
	}
	return encodeStored("vat", v.Name, storedVat{
		Version:      storedVersion,
		Name:         v.Name,
		Module:       v.Module,
		Worker:       v.Worker,
		SHA256:       v.SHA256,
		Parameters:   v.Parameters,
		Restart:      string(v.Restart),
		MaxRestarts:  v.MaxRestarts,
		OnFault:      string(v.OnFault),
		ReapInterval: reapInterval,
		Sandbox:      string(v.Sandbox),
		DeliveryNs:   int64(v.Limits.Delivery),
		Syscalls:     v.Limits.Syscalls,
		FrameBytes:   v.Limits.FrameBytes,
		Queue:        v.Limits.Queue,
		Transcript:   v.Limits.Transcript,
	})
}

// UnmarshalStored is the inverse of [MarshalStored]. It fails if data is not a result of MarshalStored.
func UnmarshalStored(data []byte) (Vat, error) {
	var s storedVat
	err := decodeStored(data, &s)
	switch {
	case err != nil:
	case s.Version != storedVersion:
		err = fmt.Errorf("version %d is not known", s.Version)
	case !validVatName(s.Name):
		err = fmt.Errorf("%.80q is not a name for a vat", s.Name)
	}
	if err != nil {
		return Vat{}, fmt.Errorf("read stored vat: %w", err)
	}
	reapInterval := limits.ReapInterval
	if s.ReapInterval != nil {
		reapInterval = *s.ReapInterval
	}
	return Vat{
		Name:         s.Name,
		Module:       s.Module,
		Worker:       s.Worker,
		SHA256:       s.SHA256,
		Parameters:   s.Parameters,
		Restart:      RestartPolicy(s.Restart),
		MaxRestarts:  s.MaxRestarts,
		OnFault:      FaultPolicy(s.OnFault),
		ReapInterval: reapInterval,
		Sandbox:      SandboxMode(s.Sandbox),
		Limits: Limits{
			Delivery:   time.Duration(s.DeliveryNs),
			Syscalls:   s.Syscalls,
			FrameBytes: s.FrameBytes,
			Queue:      s.Queue,
			Transcript: s.Transcript,
		},
	}, nil
}

// encodeStored returns the same bytes for the same value, which is stored under name.
func encodeStored(what, name string, value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // parameters come back as they were
	if err := e.Encode(value); err != nil {
		return nil, fmt.Errorf("store %s %q: %w", what, name, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// decodeStored reads one value without unknown fields, and nothing behind it.
func decodeStored(data []byte, value any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(value); err != nil {
		return err
	}
	if d.InputOffset() != int64(len(data)) {
		return errors.New("something follows it")
	}
	return nil
}

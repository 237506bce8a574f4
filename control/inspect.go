package control

import "encoding/json"

// The kinds of things that a kref names: a closed set.
const (
	KindObject  = "object"
	KindPromise = "promise"
	// KindService is an object that belongs to the kernel itself.
	KindService = "service"
)

// The states of a promise: a closed set.
const (
	PromiseUnresolved = "unresolved"
	PromiseFulfilled  = "fulfilled"
	PromiseRejected   = "rejected"
)

// Inspection is the kernel's knowledge of one object or promise.
type Inspection struct {
	// Ref is the kref, Kind one of the kinds above.
	Ref  string `json:"ref"`
	Kind string `json:"kind"`
	// Owner is the id of the vat that an object belongs to, or the name of a service; OwnerName is the
	// vat's name. Both are empty for a promise.
	Owner     string `json:"owner,omitempty"`
	OwnerName string `json:"ownerName,omitempty"`
	// State is one of the states above, for a promise; Decider is the vat that settles it, while it is
	// unresolved.
	State   string `json:"state,omitempty"`
	Decider string `json:"decider,omitempty"`
	// Revoked is whether calls of an object are rejected with REVOKED.
	Revoked bool `json:"revoked"`
	// Reachable and Recognizable are the counts that garbage collection uses.
	Reachable    int `json:"reachable"`
	Recognizable int `json:"recognizable"`
	// Holders are the vats that have a name for it, in the order of their ids.
	Holders []Holder `json:"holders"`
	// Subscribers are the ids of the vats that wait for a promise.
	Subscribers []string `json:"subscribers"`
	// Parked is the number of messages that wait for a promise to be settled.
	Parked int `json:"parked"`
	// Value is the value or reason with which a promise was settled, as JSON.
	Value json.RawMessage `json:"value,omitempty"`
}

// Hold is a reason why the kernel keeps an object or a promise.
type Hold struct {
	// Kind is one of: root, vat, queue, poisoned, exit, value, parked, service, holds, call, unit, ticket, launch, result, work.
	Kind string `json:"kind"`
	// Vat is the vat concerned, Name its name; or Name is that of a service, a ticket, or the id of a subcluster.
	Vat  string `json:"vat,omitempty"`
	Name string `json:"name,omitempty"`
	// VRef is the vat's name for it, and Recognized is set if that is all it can do with it.
	VRef       string `json:"vref,omitempty"`
	Recognized bool   `json:"recognized,omitempty"`
	// In is the promise whose value, or parked message, mentions it, or the service object.
	In string `json:"in,omitempty"`
}

// HoldPage is the answer of [Client.Holds].
type HoldPage struct {
	Holds []Hold `json:"holds"`
	// More is set if there are more.
	More bool `json:"more,omitempty"`
}

// MaxHolds bounds the reasons in one answer.
const MaxHolds = 1000

// Holder is a vat that has a name for an object or a promise.
type Holder struct {
	// Vat is its id, Name its name, and VRef its name for the inspected thing.
	Vat  string `json:"vat"`
	Name string `json:"name"`
	VRef string `json:"vref"`
	// Reachable is set if it can use the reference; otherwise it only recognizes it.
	Reachable bool `json:"reachable"`
}

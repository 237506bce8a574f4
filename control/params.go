package control

import (
	"encoding/json"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/limits"
)

// The params of those methods that have any.
type (
	launchParams struct {
		Path string `json:"path,omitempty"`
		// Config is the text in a JSON string, or, for programs that make a configuration, an object.
		Config json.RawMessage `json:"config"`
	}
	applyParams struct {
		// ID names the subcluster; empty is the one that was launched from Path.
		ID     string          `json:"id,omitempty"`
		Path   string          `json:"path,omitempty"`
		Config json.RawMessage `json:"config"`
		DryRun bool            `json:"dryRun,omitempty"`
		// Replace is the id of the subcluster that may be deleted and launched anew.
		Replace string `json:"replace,omitempty"`
	}
	// reloadParams name a subcluster, or ask for all: an id that is left out, or that a program has left empty,
	// must not delete everything.
	reloadParams struct {
		ID  string `json:"id,omitempty"`
		All bool   `json:"all,omitempty"`
	}
	idParams struct {
		ID string `json:"id"`
	}
	// collectParams name a vat; an empty id means each from which there is something to expect.
	collectParams struct {
		ID string `json:"id,omitempty"`
	}
	pingParams struct {
		ID        string `json:"id"`
		TimeoutMS int64  `json:"timeoutMs,omitempty"`
	}
	krefParams struct {
		KRef string `json:"kref"`
	}
	restartParams struct {
		ID     string `json:"id"`
		Forget bool   `json:"forget,omitempty"`
	}
	sendParams struct {
		Ticket    Ticket            `json:"ticket"`
		Target    string            `json:"target"`
		Method    string            `json:"method"`
		Args      []json.RawMessage `json:"args,omitempty"`
		Wait      bool              `json:"wait,omitempty"`
		TimeoutMS int64             `json:"timeoutMs,omitempty"`
		Raw       bool              `json:"raw,omitempty"`
	}
	awaitParams struct {
		Ticket    Ticket `json:"ticket"`
		TimeoutMS int64  `json:"timeoutMs,omitempty"`
		Raw       bool   `json:"raw,omitempty"`
	}
	pageParams struct {
		After string `json:"after,omitempty"`
		Limit int    `json:"limit,omitempty"`
	}
	ticketParams struct {
		Ticket Ticket `json:"ticket"`
	}
)

// replayed is the result of a replay.
type replayed struct {
	Lines []string `json:"lines"`
}

// poisonedPage is the result of poisonedList.
type poisonedPage struct {
	Poisoned []Poisoned `json:"poisoned"`
	// More is set if there are younger ones.
	More bool `json:"more,omitempty"`
}

// noParams checks the params of a method that has none.
func noParams(params json.RawMessage) error { return parseParams(params, &struct{}{}) }

// configText returns the text of a configuration, which is a string of JSON or an object.
func configText(config json.RawMessage) ([]byte, error) {
	switch {
	case len(config) > 0 && config[0] == '"':
		var text string
		err := json.Unmarshal(config, &text)
		return []byte(text), err
	case len(config) > 0 && config[0] == '{':
		return config, nil
	}
	return nil, Errorf(errcode.Invalid, "config must be the text of a configuration, or an object")
}

// parseID reads params that are an id, which check accepts.
func parseID(params json.RawMessage, check func(id string) error) (string, error) {
	var p idParams
	if err := parseParams(params, &p); err != nil {
		return "", err
	}
	return p.ID, check(p.ID)
}

// parseReload reads the params of a reload.
func parseReload(params json.RawMessage) (reloadParams, error) {
	var p reloadParams
	err := parseParams(params, &p)
	switch {
	case err != nil:
	case p.ID == "" && !p.All:
		err = Errorf(errcode.Invalid, "id is missing: name a subcluster, or say \"all\": true")
	case p.ID != "" && p.All:
		err = Errorf(errcode.Invalid, "id and all are given: one of them is enough")
	case p.ID != "":
		err = CheckSubcluster(p.ID)
	}
	return p, err
}

// parseKRef reads params that are the kernel's name of an object or a promise.
func parseKRef(params json.RawMessage) (string, error) {
	var p krefParams
	if err := parseParams(params, &p); err != nil {
		return "", err
	}
	return p.KRef, CheckKRef(p.KRef)
}

// maxPage bounds the entries of a page.
const maxPage = limits.Page

// parsePage reads params that ask for a page.
func parsePage(params json.RawMessage) (pageParams, error) {
	var p pageParams
	if err := parseParams(params, &p); err != nil {
		return p, err
	}
	if p.Limit < 0 || p.Limit > maxPage {
		return p, Errorf(errcode.Invalid, "limit must be from 1 to %d", maxPage)
	}
	if p.Limit == 0 {
		p.Limit = maxPage
	}
	return p, nil
}

// parseTicket reads params that are a ticket.
func parseTicket(params json.RawMessage) (Ticket, error) {
	var p ticketParams
	if err := parseParams(params, &p); err != nil {
		return Ticket{}, err
	}
	if p.Ticket.ID == "" {
		return Ticket{}, errNoTicket()
	}
	return p.Ticket, nil
}

func errNoTicket() error { return Errorf(errcode.Invalid, "ticket is missing") }

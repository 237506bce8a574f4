package control

import (
	"context"

	"ocapkernel.dev/errcode"
)

// StoredRows asks for rows of a vat's store.
type StoredRows struct {
	// Vat names the vat.
	Vat string `json:"id"`
	// Prefix is the beginning of the keys, After the key behind which the page begins. Both may be empty; keys
	// are bytes.
	Prefix []byte `json:"prefix,omitempty"`
	After  []byte `json:"after,omitempty"`
	// Limit bounds the rows of the page; 0 means 1,000, and no page has more. A page is also bounded in bytes.
	Limit int `json:"limit,omitempty"`
}

// StoredPage is a page of a vat's store.
type StoredPage struct {
	// Vat is the vat's id, Name its name in the configuration of Subcluster.
	Vat        string      `json:"vat"`
	Name       string      `json:"name"`
	Subcluster string      `json:"subcluster"`
	Rows       []StoredRow `json:"rows"`
	// More is set if there are more rows, behind the last one.
	More bool `json:"more,omitempty"`
}

// StoredRow is a row of a vat's store. In JSON its bytes are base64. Package liveslots describes the rows of Go vats.
type StoredRow struct {
	Key   []byte `json:"key"`
	Value []byte `json:"value"`
	// Size is the length of the value, of which Value may be the beginning.
	Size int `json:"size"`
}

// Stored returns a page of a vat's store, in the order of the keys.
func (c *Client) Stored(ctx context.Context, q StoredRows) (StoredPage, error) {
	var out StoredPage
	err := c.Call(ctx, methodStored, q, &out)
	return out, err
}

const maxStoreKeyBytes = 65_000

// parseStored reads params that ask for rows.
func parseStored(params []byte) (StoredRows, error) {
	var q StoredRows
	if err := parseParams(params, &q); err != nil {
		return q, err
	}
	switch {
	case q.Limit < 0 || q.Limit > maxPage:
		return q, Errorf(errcode.Invalid, "limit must be from 1 to %d", maxPage)
	case len(q.Prefix) > maxStoreKeyBytes || len(q.After) > maxStoreKeyBytes:
		return q, Errorf(errcode.Invalid, "a key has at most %d bytes", maxStoreKeyBytes)
	}
	if q.Limit == 0 {
		q.Limit = maxPage
	}
	return q, CheckVat(q.Vat)
}

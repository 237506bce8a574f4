package testvats

import (
	"context"
	"fmt"
	"strings"

	"ocapkernel.dev/vat"
)

// chest keeps long texts.
type chest struct {
	vat.Durable
	Texts vat.Map[int, string]
}

func newChest() *chest { return &chest{} }

// Put writes rows from number on, one for each length: a text of that many bytes, which begins with the stamp.
func (c *chest) Put(ctx context.Context, number int, stamp string, lengths []int) error {
	for i, n := range lengths {
		if err := c.Texts.Set(ctx, number+i, stamp+strings.Repeat(".", n-len(stamp))); err != nil {
			return err
		}
	}
	return nil
}

// Has returns the stamp and the length of a row.
func (c *chest) Has(ctx context.Context, number int) string {
	text, _ := c.Texts.Get(ctx, number)
	return fmt.Sprint(strings.TrimRight(text, "."), " ", len(text))
}

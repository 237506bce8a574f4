package kernel_test

import (
	"fmt"
	"testing"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// A tally counts all rows, wherever a page ends: also where its last read finds that there is no further row of a kind.
func TestTallyIsWholeWhereverAPageEnds(t *testing.T) {
	t.Parallel()
	for n := range 310 {
		mem := storage.NewMem()
		rows := []storage.Write{{Key: "p.kp1", Value: []byte{1}}, {Key: "s.v1.x", Value: []byte("1234")}}
		for i := range n {
			rows = append(rows, storage.Write{Key: fmt.Sprint("c.v1.o-", i+1), Value: []byte("ko1")})
		}
		if err := mem.Commit(rows); err != nil {
			t.Fatal(err)
		}
		var tally kernel.Tally
		q := kernel.NewView(mem)
		for after, first := "", true; first || after != ""; first = false {
			next, err := q.TallyAfter(&tally, after)
			if err != nil {
				t.Fatal(err)
			}
			after = next
		}
		if got, want := fmt.Sprintf("%+v", tally), fmt.Sprintf("{Objects:0 Promises:1 Vats:map[v1:{Held:%d Exported:0 Promises:0 Rows:1 Bytes:5}]}", n); got != want {
			t.Errorf("of %d names: got %s, want %s", n, got, want)
		}
	}
}

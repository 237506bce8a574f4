package host_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/examples/bank"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/backend"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/workers/inproc"
)

// What a start, or the kernel soon after it, refuses, a check of the same state says, too: each row of a state is lost, garbled and
// emptied in turn. A check says what a start passes over as well: it is silent on what stands in rows that have nothing to say.
func TestACheckFindsWhatAStartRefuses(t *testing.T) {
	t.Parallel()
	program := programOf(t, bank.Modules())
	open := func(mem *storage.Mem) (*host.Shell, func() error, error) {
		k, err := host.Open(host.Config{Store: mem, Workers: inproc.New(inproc.Config{Program: program})})
		if err != nil {
			return nil, func() error { return nil }, err
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		return k, func() error {
			stop()
			return <-ended
		}, nil
	}
	whole := storage.NewMem()
	k, stop, err := open(whole)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{Shell: k}
	cfg, err := cluster.Parse("bank.json", []byte(bankConfig))
	if err != nil {
		t.Fatal(err)
	}
	sub, err := k.Launch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if a, err := send(t.Context(), r, fmt.Sprint(i), string(sub.ID), "transfer", "alice", "bob", 1.0); err != nil || a.Rejected {
			t.Fatalf("%+v, %v", a, err)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	refused, found, n := 0, 0, 0
	rows := whole.Snapshot()
	for _, row := range rows {
		damages := map[string]storage.Write{"lost": {Key: row.Key}, "garbled": {Key: row.Key, Value: []byte{0xc1}}, "empty": {Key: row.Key, Value: []byte{}}}
		for how, damage := range damages {
			n++
			mem := storage.NewMem()
			if err := mem.Commit(rows); err != nil {
				t.Fatal(err)
			}
			if err := mem.Commit([]storage.Write{damage}); err != nil {
				t.Fatal(err)
			}
			problems, err := backend.CheckRows(mem)
			if err == nil {
				err = host.CheckState(mem, storage.NewWitness(t.TempDir()+"/none"))
				if err != nil && strings.Contains(err.Error(), "none is missing") {
					err = nil
				}
			}
			if err != nil || len(problems) > 0 {
				found++
			}
			said := err != nil || len(problems) > 0
			kind, _, _ := strings.Cut(row.Key, ".")
			switch row.Key {
			case "count.v", "swept", "s.v2.n.1": // they are made again
				said = said || how == "lost"
			case "next.p", "s.v3.w", "s.v4.w": // nothing is left of what they number
				said = said || how == "lost"
			}
			if !said && (how == "lost" || !strings.Contains(" f l e d suspect circle reload swept circles epoch ", " "+kind+" ")) {
				t.Errorf("%s is %s, and a check says nothing", row.Key, how)
			}
			_, stop, refusal := open(mem)
			if ended := stop(); refusal == nil {
				refusal = ended
			}
			if refusal == nil {
				continue
			}
			refused++
			if !said {
				t.Errorf("%s is %s: a start says %v, a check nothing", row.Key, how, refusal)
			}
		}
	}
	t.Logf("%d damages of %d rows: a start refuses %d, a check finds %d", n, len(rows), refused, found)
}

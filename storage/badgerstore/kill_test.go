package badgerstore_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

// committerDir makes the test binary be the child that commits until it is killed.
const committerDir = "BADGERSTORE_TEST_COMMITTER_DIR"

// rowsPerCommit is enough that a torn commit would show.
const rowsPerCommit = 20

func TestMain(m *testing.M) {
	if dir := os.Getenv(committerDir); dir != "" {
		if err := commitForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// commitForEver commits 1, 2, … after the number in the store, each in all its rows, and prints each number
// when it is durable.
func commitForEver(dir string) error {
	s, err := badgerstore.Open(dir, badgerstore.Options{Durability: durabilityOf(dir)})
	if err != nil {
		return err
	}
	last, err := lastCommit(s)
	if err != nil {
		return err
	}
	for n := last + 1; ; n++ {
		var writes []storage.Write
		for i := range rowsPerCommit {
			writes = append(writes, storage.Write{
				Key: fmt.Sprint("row.", i), Value: fmt.Appendf(nil, "%d %s", n, strings.Repeat("x", n%4000)),
			})
		}
		// A queue of which one row lives.
		writes = append(writes,
			storage.Write{Key: fmt.Sprint("queue.", n), Value: []byte{}},
			storage.Write{Key: fmt.Sprint("queue.", n-1)})
		if err := s.Commit(writes); err != nil {
			return err
		}
		if _, err := fmt.Println(n); err != nil {
			return err
		}
	}
}

// durabilityOf tries both: neither may lose anything when only the process dies.
func durabilityOf(dir string) badgerstore.Durability {
	if strings.HasSuffix(dir, "power") {
		return badgerstore.Power
	}
	return badgerstore.Process
}

// lastCommit returns the number that all rows agree on.
func lastCommit(s storage.Reader) (int, error) {
	last := 0
	for i := range rowsPerCommit {
		value, found, err := s.Get(fmt.Sprint("row.", i))
		if err != nil {
			return 0, err
		}
		n := 0
		if found {
			number, rest, _ := strings.Cut(string(value), " ")
			if n, err = strconv.Atoi(number); err != nil || len(rest) != n%4000 {
				return 0, fmt.Errorf("row %d is damaged: %.40q", i, value)
			}
		}
		if i > 0 && n != last {
			return 0, fmt.Errorf("torn commit: row %d is of commit %d, the one before of %d", i, n, last)
		}
		last = n
	}
	key, _, found, err := s.Next("queue.", "")
	if want := fmt.Sprint("queue.", last); err != nil || found != (last > 0) || found && key != want {
		return 0, fmt.Errorf("queue: got %q, %v, want %q", key, err, want)
	}
	if _, _, found, err = s.Next("queue.", key); found && key != "" || err != nil {
		return 0, fmt.Errorf("queue has two rows, or %v", err)
	}
	return last, nil
}

// commitAndKill runs a child that commits in dir, kills it after it acknowledged n commits of its own, and
// returns the last number that it acknowledged.
func commitAndKill(t *testing.T, dir string, n int) (acknowledged int) {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), committerDir+"="+dir)
	child.Stderr = os.Stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	for i := 1; lines.Scan(); i++ {
		if acknowledged, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatal(err)
		}
		// The child has gone on meanwhile; its lines until it is dead count too.
		if i == n {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Fatalf("child ended with %v", err)
	}
	return acknowledged
}

// reopen returns the last commit in dir.
func reopen(t *testing.T, dir string) int {
	t.Helper()
	s, err := badgerstore.Open(dir, badgerstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	last, err := lastCommit(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return last
}

// A process that is killed while it commits loses nothing that it acknowledged, and tears nothing.
func TestKill(t *testing.T) {
	root := t.TempDir()
	for round := range 10 {
		dir := filepath.Join(root, []string{"power", "process"}[round%2])
		acknowledged := commitAndKill(t, dir, 20+10*round)
		// The commit in flight when the kill came may be there.
		if last := reopen(t, dir); last != acknowledged && last != acknowledged+1 {
			t.Errorf("round %d: acknowledged %d, found %d", round, acknowledged, last)
		}
	}
}

// Badger opens a damaged log without a word, at an older state. It is still a whole commit, and the witness
// knows better. If this test fails because Badger has learnt to complain: good, say so in the docs.
func TestDamageIsARollbackThatTheWitnessSees(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "process")
	acknowledged := commitAndKill(t, dir, 50)
	witness := storage.NewWitness(filepath.Join(filepath.Dir(dir), "witness"))
	if err := errors.Join(witness.Prepare(), witness.Record(uint64(acknowledged))); err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs: %v, %v", logs, err)
	}
	log := logs[len(logs)-1]
	data, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	used := len(bytes.TrimRight(data, "\x00"))
	f, err := os.OpenFile(log, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("xyz"), int64(used/2)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	last := reopen(t, dir)
	if last == 0 || last >= acknowledged {
		t.Fatalf("after damage in the middle: commit %d of %d", last, acknowledged)
	}
	if err := witness.Check(uint64(last)); !errors.Is(err, storage.ErrRolledBack) {
		t.Errorf("witness says %v", err)
	}
}

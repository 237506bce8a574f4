package badgerstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/torture"
	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

// pageBytes is what a file system writes at once: a power loss leaves each page of what was not synced as it was before or after.
const pageBytes = 4096

// A moment is a copy of a database, with its witness, when a commit was acknowledged.
type moment struct {
	commit int
	files  map[string][]byte
}

// A past is the moments of one database, in order.
type past struct {
	moments []moment
	// states are the rows after each commit.
	states map[int]map[string]string
}

// live runs a database for some rounds of commits, each of which is synced, and copies it after each of them.
func live(t *testing.T, memory string, random *rand.Rand, rounds, commits int) *past {
	t.Helper()
	root, err := os.MkdirTemp(memory, "live-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(root) }()
	dir := filepath.Join(root, "db")
	witness := storage.NewWitness(filepath.Join(root, "witness"))
	h := &past{states: map[int]map[string]string{0: {}}}
	rows := map[string]string{}
	n := 0
	remember := func() {
		m := moment{commit: n}
		for before := ""; ; { // a copy of a database that is open equals the remains of a kill, if no compaction comes between
			before = tables(t, dir)
			m.files = map[string][]byte{}
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				b, err := dataOf(filepath.Join(dir, e.Name()))
				if errors.Is(err, fs.ErrNotExist) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				m.files[e.Name()] = b
			}
			if before == tables(t, dir) {
				break
			}
		}
		var err error
		if m.files["witness"], err = os.ReadFile(filepath.Join(root, "witness")); err != nil {
			t.Fatal(err)
		}
		h.moments = append(h.moments, m)
	}
	for round := range rounds {
		s, err := badgerstore.Open(dir, badgerstore.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if err := witness.Prepare(); err != nil {
				t.Fatal(err)
			}
			remember()
		}
		for range commits {
			n++
			writes := []storage.Write{{Key: "commit", Value: []byte(strconv.Itoa(n))}}
			for range 1 + random.IntN(8) {
				key := fmt.Sprint("row.", random.IntN(40))
				switch random.IntN(6) {
				case 0:
					writes = append(writes, storage.Write{Key: key})
				case 1:
					writes = append(writes, storage.Write{Key: key, Value: []byte{}})
				default:
					writes = append(writes, storage.Write{Key: key, Value: bytes.Repeat([]byte{byte(n)}, random.IntN(3000))})
				}
			}
			if random.IntN(5) == 0 { // into a value log
				writes = append(writes, storage.Write{Key: fmt.Sprint("large.", random.IntN(2)), Value: bytes.Repeat([]byte{byte(n)}, 1<<20+random.IntN(20_000))})
			}
			slices.SortStableFunc(writes, func(a, b storage.Write) int { return bytes.Compare([]byte(a.Key), []byte(b.Key)) })
			writes = slices.CompactFunc(writes, func(a, b storage.Write) bool { return a.Key == b.Key })
			for _, w := range writes {
				if rows[w.Key] = string(w.Value); w.Value == nil {
					delete(rows, w.Key)
				}
			}
			h.states[n] = maps.Clone(rows)
			if err := s.Commit(writes); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(witness.Record(uint64(n)), witness.Sync()); err != nil {
				t.Fatal(err)
			}
			remember()
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		remember()
	}
	return h
}

// dataOf reads a file. Of a log, which is a map with 100 MB of zeros at its end, it reads little more than what was written.
func dataOf(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	const seekData, seekHole = 3, 4 // of lseek
	b := make([]byte, 0, 8<<10)
	for at := int64(0); at < info.Size(); {
		from, err := f.Seek(at, seekData)
		if errors.Is(err, syscall.ENXIO) { // a hole up to the end
			break
		}
		to, err2 := f.Seek(from, seekHole)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		b = append(b, make([]byte, to-int64(len(b)))...)
		if _, err := f.ReadAt(b[from:], from); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		at = to
	}
	used := len(bytes.TrimRight(b, "\x00"))
	size := int(info.Size())
	if ext := filepath.Ext(path); ext == ".mem" || ext == ".vlog" {
		size = min(size, used+100)
	}
	return append(b[:used:used], make([]byte, size-used)...), nil
}

// A fault returns the files of a database that something has happened to, when commit acknowledged was, and underWay was under
// way: they may be the same.
type fault struct {
	name string
	do   func(h *past, random *rand.Rand) (files map[string][]byte, acknowledged, underWay int, what string)
}

var faults = []fault{
	{powerLoss, func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		i := random.IntN(len(h.moments) - 1)
		for !h.isCommit(i) {
			i = random.IntN(len(h.moments) - 1)
		}
		before, after := h.moments[i], h.moments[i+1]
		// The value logs are synced before the log of the memory table is written.
		newer := random.IntN(101)
		out, inLogs := maps.Clone(before.files), random.IntN(2) == 0
		for name, now := range after.files {
			switch ext := filepath.Ext(name); {
			case ext == ".mem" && inLogs, ext == ".vlog" && !inLogs, name == "DISCARD":
				out[name] = mixed(random, newer, before.files[name], now)
			case ext == ".vlog":
				out[name] = now
			}
		}
		return out, before.commit, after.commit, fmt.Sprintf("commit %d, %d%% of the pages new, in the log %t", after.commit, newer, inLogs)
	}},
	{"pages of two copies", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		i := random.IntN(len(h.moments) - 1)
		before, after := h.moments[i], h.moments[i+1]
		out := map[string][]byte{}
		newer := random.IntN(101) // percent of the pages
		for _, name := range sortedKeys(before.files, after.files) {
			old, was := before.files[name]
			now, is := after.files[name]
			switch {
			case !was && random.IntN(100) >= newer, !is && random.IntN(100) < newer: // its entry in the directory is not there yet, or not any more
			default:
				out[name] = mixed(random, newer, old, now)
			}
		}
		return out, before.commit, after.commit, fmt.Sprintf("commits %d and %d, %d%% of the pages new", before.commit, after.commit, newer)
	}},
	{"a file cut", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		m, name := h.some(random)
		out := maps.Clone(m.files)
		n := random.IntN(max(1, len(bytes.TrimRight(out[name], "\x00"))))
		out[name] = slices.Clone(out[name][:min(n, len(out[name]))])
		return out, m.commit, m.commit, fmt.Sprintf("%s at %d bytes", name, n)
	}},
	{"bits flipped", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		m, name := h.some(random)
		out := maps.Clone(m.files)
		b := slices.Clone(out[name])
		what := name
		for range 1 + random.IntN(4) {
			if used := len(bytes.TrimRight(b, "\x00")); used > 0 {
				at := random.IntN(used)
				b[at] ^= 1 << random.IntN(8)
				what += fmt.Sprintf(" at %d of %d", at, used)
			}
		}
		out[name] = b
		return out, m.commit, m.commit, what
	}},
	{"a page of zeros", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		m, name := h.some(random)
		out := maps.Clone(m.files)
		b := slices.Clone(out[name])
		at := random.IntN(len(b)/pageBytes+1) * pageBytes
		clear(b[min(at, len(b)):min(at+pageBytes, len(b))])
		out[name] = b
		return out, m.commit, m.commit, fmt.Sprintf("%s at %d", name, at)
	}},
	{"a file deleted", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		m, name := h.some(random)
		out := maps.Clone(m.files)
		delete(out, name)
		return out, m.commit, m.commit, name
	}},
	{"a file of an older copy", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		i := random.IntN(len(h.moments))
		m, older := h.moments[i], h.moments[random.IntN(i+1)]
		out := maps.Clone(m.files)
		name := pickName(random, older.files)
		out[name] = older.files[name]
		return out, m.commit, m.commit, fmt.Sprintf("%s of commit %d at commit %d", name, older.commit, m.commit)
	}},
	{"all files but one of an older copy", func(h *past, random *rand.Rand) (map[string][]byte, int, int, string) {
		i := random.IntN(len(h.moments))
		m, older := h.moments[i], h.moments[random.IntN(i+1)]
		out := maps.Clone(older.files)
		out["witness"] = m.files["witness"]
		name := pickName(random, m.files)
		out[name] = m.files[name]
		return out, m.commit, m.commit, fmt.Sprintf("all but %s of commit %d at commit %d", name, older.commit, m.commit)
	}},
}

const powerLoss = "pages of a power loss"

// isCommit reports whether the only thing between a moment and the next one is a commit.
func (h *past) isCommit(i int) bool {
	before, after := h.moments[i], h.moments[i+1]
	return before.commit != after.commit && slices.Equal(sortedKeys(before.files), sortedKeys(after.files)) &&
		bytes.Equal(before.files["MANIFEST"], after.files["MANIFEST"])
}

func sortedKeys(files ...map[string][]byte) []string {
	var names []string
	for _, f := range files {
		names = slices.AppendSeq(names, maps.Keys(f))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// mixed returns a file with some of the pages as they were and some as they are now.
func mixed(random *rand.Rand, percent int, old, now []byte) []byte {
	size := len(old)
	if random.IntN(100) < percent || old == nil {
		size = len(now)
	}
	out := make([]byte, max(len(old), len(now)))
	copy(out, old)
	for at := 0; at < len(now); at += pageBytes {
		if end := min(at+pageBytes, len(out)); random.IntN(100) < percent {
			clear(out[at:end])
			copy(out[at:end], now[at:])
		}
	}
	return out[:size]
}

// some returns a moment, and the name of one of its files.
func (h *past) some(random *rand.Rand) (moment, string) {
	m := h.moments[random.IntN(len(h.moments))]
	return m, pickName(random, m.files)
}

func pickName(random *rand.Rand, files map[string][]byte) string {
	names := sortedKeys(files)
	return names[random.IntN(len(names))]
}

// After a fault the database is as it was after a commit that was acknowledged last, or after the one under way, or it is refused
// with every byte as it was: never a part of a commit, and never an older state without a word. The witness tells what was
// acknowledged.
func TestTortureStorageFaults(t *testing.T) {
	seed := torture.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	row := torture.Row{Part: "storage faults", Seed: seed}
	recovered, refused := map[string]int{}, map[string]int{}
	defer func() {
		for _, f := range faults {
			t.Logf("%-36s %5d recovered, %5d refused", f.name, recovered[f.name], refused[f.name])
		}
		if t.Failed() {
			row.Findings = max(row.Findings, 1)
		}
		torture.Report(t, row)
	}()
	memory := t.TempDir() // for the copies, whose syncs are for nothing
	if info, err := os.Stat("/dev/shm"); err == nil && info.IsDir() {
		if inMemory, err := os.MkdirTemp("/dev/shm", "badgerstore-faults-"); err == nil {
			memory = inMemory
			t.Cleanup(func() { _ = os.RemoveAll(inMemory) })
		}
	}
	end := torture.Until(t, 10, 8*time.Second)
	for first := true; first || time.Now().Before(end); first = false {
		rounds := 3
		if torture.Long() {
			rounds += random.IntN(8) // of which the fifth and later ones have compactions
		}
		h := live(t, memory, random, rounds, 4+random.IntN(6))
		row.Scenarios++
		row.Cranks += len(h.states) - 1
		for n := range 40 * rounds {
			if (!first || n > 40) && !time.Now().Before(end) {
				break
			}
			f := faults[random.IntN(len(faults))]
			if random.IntN(2) == 0 {
				f = faults[0]
			}
			files, acknowledged, underWay, what := f.do(h, random)
			row.Faults++
			opened, err := h.survives(t, memory, random, files, acknowledged, underWay)
			if err != nil {
				row.Findings++
				t.Errorf("%s: %s: %v", f.name, what, err)
				if row.Findings > 20 {
					return
				}
			}
			if !opened && err == nil && f.name == powerLoss {
				row.Findings++
				t.Errorf("%s: %s: it is refused", f.name, what)
			}
			if opened {
				recovered[f.name]++
			} else {
				refused[f.name]++
			}
		}
	}
	if !torture.Long() {
		return
	}
	for _, f := range faults {
		if recovered[f.name] == 0 || refused[f.name] == 0 && f.name != powerLoss {
			t.Errorf("%s: %d recovered, %d refused: it is no fault, or always one", f.name, recovered[f.name], refused[f.name])
		}
	}
}

// survives opens a database as the kernel does, with its witness.
func (h *past) survives(t *testing.T, memory string, random *rand.Rand, content map[string][]byte, acknowledged, underWay int) (opened bool, err error) {
	t.Helper()
	root, err := os.MkdirTemp(memory, "badgerstore-faults-")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(root) }()
	dir := filepath.Join(root, "db")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range content {
		path := filepath.Join(dir, name)
		if name == "witness" {
			path = filepath.Join(root, name)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := files(t, root)
	witness := storage.NewWitness(filepath.Join(root, "witness"))
	s, refusal := badgerstore.Open(dir, badgerstore.Options{Examined: func(r storage.Reader) error {
		last, found, err := r.Get("commit")
		n := 0
		if err == nil && found {
			n, err = strconv.Atoi(string(last))
		}
		return errors.Join(err, witness.Check(uint64(n)))
	}})
	if refusal != nil {
		if !errors.Is(refusal, storage.ErrCorrupt) && !errors.Is(refusal, storage.ErrRolledBack) {
			return false, fmt.Errorf("refused with %w", refusal)
		}
		if diff := cmp.Diff(before, files(t, root)); diff != "" {
			return false, fmt.Errorf("refused with %w, and changed: %.2000s", refusal, diff)
		}
		return false, nil
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	got, err := readRows(s)
	if err != nil {
		return true, err
	}
	n, _ := strconv.Atoi(got["commit"])
	if n < acknowledged || n > underWay {
		return true, fmt.Errorf("it is open at commit %d: %d was acknowledged, and %d under way", n, acknowledged, underWay)
	}
	if diff := cmp.Diff(h.states[n], got); diff != "" {
		return true, fmt.Errorf("it is open at commit %d, with other rows: %.2000s", n, diff)
	}
	if random.IntN(8) > 0 {
		return true, nil
	}
	// It goes on, and so does the next one.
	if err := s.Commit([]storage.Write{{Key: "commit", Value: []byte("999999")}, {Key: "row.0", Value: []byte("later")}}); err != nil {
		return true, err
	}
	want := maps.Clone(h.states[n])
	want["commit"], want["row.0"] = "999999", "later"
	if err := s.Close(); err != nil {
		return true, err
	}
	if s, err = badgerstore.Open(dir, badgerstore.Options{}); err != nil {
		return true, fmt.Errorf("after one more commit: %w", err)
	}
	got, err = readRows(s)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		return true, fmt.Errorf("after one more commit: %w, %.2000s", err, diff)
	}
	return true, nil
}

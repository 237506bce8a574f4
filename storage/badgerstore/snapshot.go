package badgerstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"

	"ocapkernel.dev/storage"
)

// Snapshot is the state in the files of a database that is not open, as [Open] would find it. It is read
// without Badger's own open, which cuts logs and deletes tables: a Snapshot changes nothing.
//
// # Concurrency
//
// Methods may be called from any goroutine.
type Snapshot struct {
	dir string
	// fresh is set if there is no database yet.
	fresh bool
	// logs are the logs of the memory table, in order; values are the value logs.
	logs   []*logFile
	values map[uint32]*logFile
	levels [maxLevels][]*table.Table
	// rows are the newest rows in logs; keys are their keys, in order.
	rows map[string]logRow
	keys []string
	// large says where the values are that lie in value logs.
	large map[string]place
	// last is the newest version that is stored.
	last uint64
	// skips are the values of the rows skippedKey in logs, by version.
	skips map[uint64]uint64

	mu struct {
		sync.Mutex
		tables y.Iterator // over levels; nil if there are none
	}
}

// logRow is the newest version of a row in the logs.
type logRow struct {
	version uint64
	meta    byte
	value   []byte
}

// maxLevels is the number of levels of tables in Badger.
const maxLevels = 7

// damaged returns an error about files that are not as they were written.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", storage.ErrCorrupt, fmt.Sprintf(format, args...))
}

// Examine reads all files of the database in dir, and verifies each checksum. It returns [storage.ErrCorrupt],
// wrapped and with the name of the file, for a file that is not as it was written. A torn end of a log or of
// the MANIFEST, as the death of a process or a machine leaves it, is no damage. A directory that is missing, or
// in which a first open was cut short, is an empty database. The caller makes sure that the database is not
// open meanwhile.
//
// Examine takes the time of reading all files once. The caller closes the Snapshot.
func Examine(dir string) (_ *Snapshot, err error) {
	s := &Snapshot{dir: dir, rows: map[string]logRow{}, large: map[string]place{}, values: map[uint32]*logFile{}, skips: map[uint64]uint64{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("database %s: %w", dir, err), s.Close())
		}
	}()
	// A block that a table's index places outside of its file, and a disk that fails under a memory map, are panics.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = damaged("%v", p)
		}
	}()
	tables, err := s.list()
	if err != nil {
		return nil, err
	}
	if err := s.examineTables(tables); err != nil {
		return nil, err
	}
	if err := s.readValueLogs(); err != nil {
		return nil, err
	}
	for _, f := range s.logs {
		if err := readLog(f, s.logged); err != nil {
			return nil, err
		}
		if from, ok := s.skips[f.first]; f.first > s.last+1 && (!ok || from > s.last+1) {
			return nil, damaged("%s goes on at version %d, and what is before it ends at %d: a table or a log is missing or cut", f.path, f.first, s.last)
		}
		s.last = max(s.last, f.last)
	}
	for key, row := range s.rows {
		s.keys = append(s.keys, key)
		if row.meta&bitValuePointer != 0 {
			s.large[key] = place{}
		}
	}
	slices.Sort(s.keys)
	return s, s.examineValues()
}

// hasLogs reports whether a memory table was not made a table of.
func (s *Snapshot) hasLogs() bool {
	return slices.ContainsFunc(s.logs, func(f *logFile) bool { return f.end >= logHeaderBytes })
}

// readValueLogs finds the ends of the value logs. The newest one is the last that has a whole header: [Snapshot.prepare]
// removes the others.
func (s *Snapshot) readValueLogs() error {
	newest := uint32(0)
	for id, f := range s.values {
		if f.size >= logHeaderBytes {
			newest = max(newest, id)
		}
	}
	for id, f := range s.values {
		if err := readValueLog(f, id == newest); err != nil {
			return err
		}
	}
	return nil
}

// examineValues verifies the values that lie in value logs. Of rows that were written again or deleted later, the former
// values may be gone: a log is removed when no row has its value in it.
func (s *Snapshot) examineValues() error {
	for key := range s.large {
		found, row := s.from(key)
		if found != key || row.meta&bitDelete != 0 || row.meta&bitValuePointer == 0 {
			delete(s.large, key)
			continue
		}
		value, err := s.valueAt(key, row.value)
		if err != nil {
			return err
		}
		s.large[key] = place{binary.NativeEndian.Uint32(row.value), int64(len(key) + len(value))}
	}
	return nil
}

// list finds the files of the database, and returns the ids of the tables among them.
func (s *Snapshot) list() (tables map[uint64]bool, err error) {
	entries, err := os.ReadDir(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		entries, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	tables = map[uint64]bool{}
	manifest := false
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(s.dir, name)
		ext := filepath.Ext(name)
		if !isBadgers(name, ext) {
			continue
		}
		if !e.Type().IsRegular() {
			return nil, damaged("%s is a %s, and not a file", path, kindOf(e.Type()))
		}
		info, err := e.Info()
		if err != nil {
			return nil, err
		}
		id, err := strconv.ParseUint(strings.TrimSuffix(name, ext), 10, 31)
		if err != nil && ext != "" {
			return nil, damaged("%s is no name of a file of the database", path)
		}
		switch {
		case ext == ".sst":
			tables[id] = true
		case ext == ".mem":
			s.logs = append(s.logs, &logFile{path: path, id: id, size: info.Size()})
		case ext == ".vlog":
			s.values[uint32(id)] = &logFile{path: path, id: id, size: info.Size()}
		case name == badger.ManifestFilename:
			manifest = true
		case name == badger.KeyRegistryFileName:
			if err := checkRegistry(path); err != nil {
				return nil, err
			}
		}
	}
	slices.SortFunc(s.logs, func(a, b *logFile) int { return int(a.id) - int(b.id) })
	// Badger makes the MANIFEST before any of these.
	if s.fresh = !manifest; s.fresh && len(tables)+len(s.logs)+len(s.values) > 0 {
		return nil, damaged("MANIFEST is missing, the list of the %d tables and %d logs that are there", len(tables), len(s.logs)+len(s.values))
	}
	return tables, nil
}

// isBadgers reports whether Badger reads or writes a file of this name.
func isBadgers(name, ext string) bool {
	switch name {
	case badger.ManifestFilename, badger.ManifestFilename + "-REWRITE", badger.KeyRegistryFileName, "REWRITE-" + badger.KeyRegistryFileName, discardName, lockName:
		return true
	}
	return ext == ".sst" || ext == ".mem" || ext == ".vlog"
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "symbolic link"
	case mode.IsDir():
		return "directory"
	}
	return "special file"
}

// checkRegistry checks the file of encryption keys. The store uses no key, so the file is always the same: a
// random number and this text.
func checkRegistry(path string) error {
	const text = "Hello Badger"
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(content) != 16+len(text) || string(content[16:]) != text {
		return damaged("%s is not what was written: it holds nothing of yours, remove it", path)
	}
	return nil
}

// examineTables opens and verifies the tables that the MANIFEST names.
func (s *Snapshot) examineTables(there map[uint64]bool) error {
	if s.fresh {
		return nil
	}
	file, err := os.Open(filepath.Join(s.dir, badger.ManifestFilename))
	if err != nil {
		return err
	}
	// A torn end is left out. If a crash tore it, the tables and logs from before still hold all rows; if not,
	// a table is missing, or a stretch of versions.
	manifest, _, err := badger.ReplayManifestFile(file, 0, badger.Options{})
	_ = file.Close() // only read
	if err != nil {
		return damaged("MANIFEST, the list of its tables: %v", err)
	}
	for level := range manifest.Levels {
		if level >= maxLevels {
			return damaged("MANIFEST names level %d", level)
		}
		for id := range manifest.Levels[level].Tables {
			if !there[id] {
				return damaged("table %s is missing", table.IDToFilename(id))
			}
			if m := manifest.Tables[id]; m.Compression != options.None || m.KeyID != 0 {
				return damaged("table %s is compressed or encrypted, and ours are not", table.IDToFilename(id))
			}
			t, err := s.openTable(id)
			if err != nil {
				return err
			}
			s.levels[level] = append(s.levels[level], t)
			s.last = max(s.last, t.MaxVersion())
			s.findLarge(t)
		}
		slices.SortFunc(s.levels[level], func(a, b *table.Table) int { return y.CompareKeys(a.Smallest(), b.Smallest()) })
	}
	var iterators []y.Iterator
	for level, tables := range s.levels {
		if level > 0 && len(tables) > 0 { // the key ranges of its tables do not overlap
			iterators = append(iterators, table.NewConcatIterator(tables, table.NOCACHE))
			continue
		}
		for _, t := range tables {
			iterators = append(iterators, t.NewIterator(table.NOCACHE))
		}
	}
	if len(iterators) > 0 {
		s.mu.tables = table.NewMergeIterator(iterators, false)
	}
	return nil
}

// openTable opens a table and verifies the checksum of each of its blocks.
func (s *Snapshot) openTable(id uint64) (t *table.Table, err error) {
	path := table.NewFilename(id, s.dir)
	if info, err := os.Lstat(path); err == nil && info.Size() == 0 { // an empty file cannot be mapped
		return nil, damaged("table %s is empty", table.IDToFilename(id))
	}
	file, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", table.IDToFilename(id), err)
	}
	defer func() {
		if p := recover(); p != nil { // Badger's report of an index that is no index
			err = damaged("table %s is not what was written", table.IDToFilename(id))
		}
		if err != nil {
			_ = file.Close(-1) // only read
		}
	}()
	if t, err = table.OpenTable(file, table.Options{ReadOnly: true, ChkMode: options.OnBlockRead, Compression: options.None}); err == nil {
		err = t.VerifyChecksum()
	}
	if err != nil {
		return nil, damaged("table %s: %v", table.IDToFilename(id), err)
	}
	return t, nil
}

// findLarge notes the rows of a table of which some version has its value in a value log.
func (s *Snapshot) findLarge(t *table.Table) {
	it := t.NewIterator(table.NOCACHE)
	defer func() { _ = it.Close() }() // only read
	for it.Rewind(); it.Valid(); it.Next() {
		if v := it.Value(); v.Meta&bitValuePointer != 0 {
			s.large[string(y.ParseKey(it.Key()))] = place{}
		}
	}
}

// logged keeps the newest version of each row in the logs. A log may still be there when its table is, and even
// when a later log is gone already.
func (s *Snapshot) logged(key []byte, version uint64, meta byte, value []byte) {
	if string(key) == skippedKey && len(value) == 8 {
		s.skips[version] = binary.BigEndian.Uint64(value)
	}
	if old, ok := s.rows[string(key)]; !ok || old.version < version {
		s.rows[string(key)] = logRow{version, meta, value}
	}
}

// Get implements [storage.Reader].
func (s *Snapshot) Get(key string) ([]byte, bool, error) {
	if !validKey(key) {
		return nil, false, nil
	}
	found, row := s.from(key)
	if found != key || row.meta&bitDelete != 0 {
		return nil, false, nil
	}
	value, err := s.value(key, row)
	return value, err == nil, err
}

// Next implements [storage.Reader].
func (s *Snapshot) Next(prefix, after string) (string, []byte, bool, error) {
	at := max(prefix, after+"\x00")
	for {
		key, row := s.from(at)
		if !strings.HasPrefix(key, prefix) || key == "" {
			return "", nil, false, nil
		}
		if row.meta&bitDelete == 0 && validKey(key) {
			value, err := s.value(key, row)
			return key, value, err == nil, err
		}
		at = key + "\x00"
	}
}

// from returns the first row at or behind a key, in its newest version, deleted rows included; key is "" if
// there is none.
func (s *Snapshot) from(at string) (string, logRow) {
	i, _ := slices.BinarySearch(s.keys, at)
	key := ""
	var row logRow
	if i < len(s.keys) {
		key, row = s.keys[i], s.rows[s.keys[i]]
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	it := s.mu.tables
	if it == nil {
		return key, row
	}
	it.Seek(y.KeyWithTs([]byte(at), ^uint64(0))) // the newest version comes first
	if !it.Valid() {
		return key, row
	}
	stored, version := string(y.ParseKey(it.Key())), y.ParseTs(it.Key())
	if key == "" || stored < key || stored == key && version > row.version {
		v := it.Value()
		return stored, logRow{version, v.Meta, bytes.Clone(v.Value)}
	}
	return key, row
}

// value returns the value of a row, which is not nil.
func (s *Snapshot) value(key string, row logRow) ([]byte, error) {
	if row.meta&bitValuePointer != 0 {
		return s.valueAt(key, row.value)
	}
	if row.value == nil {
		return []byte{}, nil
	}
	return row.value, nil
}

// Close releases the files.
func (s *Snapshot) Close() error {
	var err error
	for level := range s.levels {
		for _, t := range s.levels[level] {
			err = errors.Join(err, t.Close(-1))
		}
		s.levels[level] = nil
	}
	return err
}

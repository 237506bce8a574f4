package badgerstore

import (
	"fmt"
	"math"
	"os"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/skl"
	"github.com/dgraph-io/ristretto/v2/z"
)

// internals are the private fields of Badger by which a commit without room becomes an error that leaves everything as it
// was: see repair and touch. [Open] fails if the fields are not as in the version that go.mod names.
//
// The methods are called by the one caller of [Store.Commit] at a time, while Badger does not commit.
type internals struct {
	dir string
	// lock guards table, a variable of type *badger.memTable: the memory table that is written to.
	lock  *sync.RWMutex
	table reflect.Value
	// nextLog is the id of the next log of a memory table.
	nextLog *int
	// values are the value logs by id, of type map[uint32]*badger.logFile. lastValues is the id of the one that is written
	// to, valuesEnd its content. They are written by commits, and by takeValueLog, only; valuesLock guards them against reads.
	values     reflect.Value
	valuesLock *sync.RWMutex
	lastValues *uint32
	valuesEnd  *atomic.Uint32
	// valueLogSize is the content at which a value log is full, atClose whether Badger compacts when it is closed.
	valueLogSize, atClose reflect.Value
	// syncFile is msync of a log.
	syncFile func(*z.MmapFile) error
}

// ends are the ends of the logs.
type ends struct {
	// log is of the log of a memory table that the next commit is written to, which may be still to be made; values of the
	// value log.
	log, values logEnd
	// begins is set if the commit begins a log of a memory table.
	begins bool
	// content is how many bytes the current memory table has in its log.
	content int64
}

// logEnd is the end of the content of a log.
type logEnd struct {
	path string
	at   int64
}

// memTable is a memory table. It is released, and its log removed, at the last DecrRef.
type memTable interface {
	IncrRef()
	DecrRef()
}

// newInternals returns the internals of a database.
func newInternals(db *badger.DB, dir string) (in *internals, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("another version of Badger than this program was written for: %v", p)
		}
	}()
	inner := reflect.ValueOf(db).Elem()
	values := inner.FieldByName("vlog")
	in = &internals{
		dir:        dir,
		lock:       variable(inner, "lock").Addr().Interface().(*sync.RWMutex),
		table:      variable(inner, "mt"),
		nextLog:    variable(inner, "nextMemFid").Addr().Interface().(*int),
		values:     variable(values, "filesMap"),
		valuesLock: variable(values, "filesLock").Addr().Interface().(*sync.RWMutex),
		lastValues: variable(values, "maxFid").Addr().Interface().(*uint32),
		valuesEnd:  variable(values, "writableLogOffset").Addr().Interface().(*atomic.Uint32),
		syncFile:   (*z.MmapFile).Sync,

		valueLogSize: variable(variable(values, "opt"), "ValueLogFileSize"),
		atClose:      variable(variable(inner, "opt"), "CompactL0OnClose"),
	}
	in.widen(inner)
	_ = in.full()
	// Badger closes MANIFEST before it opens the file that replaces it, and makes no more tables if that fails. The file
	// grows by some 20 bytes a table: it is not replaced while the database is open.
	manifest := variable(inner, "manifest").Elem()
	lock := variable(manifest, "appendLock").Addr().Interface().(*sync.Mutex)
	lock.Lock()
	defer lock.Unlock()
	variable(manifest, "deletionsRewriteThreshold").SetInt(math.MaxInt)
	_, _ = in.lastValueLog()
	_ = in.values.MapKeys()
	return in, nil
}

// variable returns a field of a struct as a variable that can be read and set. It panics if there is no such field.
func variable(of reflect.Value, name string) reflect.Value {
	f := of.FieldByName(name)
	return reflect.NewAt(f.Type(), f.Addr().UnsafePointer()).Elem()
}

// lastValueLog returns the value log that is written to, and its lock.
func (in *internals) lastValueLog() (*z.MmapFile, *sync.RWMutex) {
	return valueLog(in.values.MapIndex(reflect.ValueOf(*in.lastValues)))
}

// valueLog returns a value log, and its lock.
func valueLog(of reflect.Value) (*z.MmapFile, *sync.RWMutex) {
	log := of.Elem()
	return variable(log, "MmapFile").Interface().(*z.MmapFile), variable(log, "lock").Addr().Interface().(*sync.RWMutex)
}

// fullValueLogs returns the bytes of each value log that is not written to any more.
func (in *internals) fullValueLogs() (map[uint32]int64, error) {
	out := map[uint32]int64{}
	for _, key := range in.values.MapKeys() {
		id := uint32(key.Uint())
		if id == *in.lastValues {
			continue
		}
		info, err := os.Stat(valueLogPath(in.dir, uint64(id)))
		if err != nil {
			return nil, err
		}
		out[id] = info.Size()
	}
	return out, nil
}

// takeValueLog takes a value log that is not written to any more out of the database, and returns the function that removes
// its file when the reads of its values under way have ended; nil if there is no such log.
func (in *internals) takeValueLog(id uint32) (remove func() error) {
	in.valuesLock.Lock()
	defer in.valuesLock.Unlock()
	key := reflect.ValueOf(id)
	log := in.values.MapIndex(key)
	if !log.IsValid() || id == *in.lastValues {
		return nil
	}
	in.values.SetMapIndex(key, reflect.Value{})
	file, lock := valueLog(log)
	return func() error {
		lock.Lock()
		defer lock.Unlock()
		return file.Delete()
	}
}

// hold keeps the current memory table until the commit that follows has ended: then its DecrRef is called, or repair.
// No commit may be under way.
func (in *internals) hold() memTable {
	table := in.table.Interface().(memTable)
	table.IncrRef()
	return table
}

// log returns the log of the current memory table, up to where it is written, and the rows of the memory table.
func (in *internals) log() (log *z.MmapFile, end int64, rows *skl.Skiplist) {
	table := in.table.Elem()
	file := variable(table, "wal").Elem()
	return variable(file, "MmapFile").Interface().(*z.MmapFile), int64(variable(file, "writeAt").Uint()),
		variable(table, "sl").Interface().(*skl.Skiplist)
}

// nextPath returns the path of the next log of a memory table.
func (in *internals) nextPath() string { return logPath(in.dir, uint64(*in.nextLog)) }

// ends returns where the next commit is written to.
func (in *internals) ends() ends {
	file, end, _ := in.log()
	e := ends{
		content: end,
		log:     logEnd{file.Fd.Name(), end},
		values:  logEnd{valueLogPath(in.dir, uint64(*in.lastValues)), int64(in.valuesEnd.Load())},
	}
	if in.full() {
		e.begins, e.log = true, logEnd{in.nextPath(), logHeaderBytes}
	}
	return e
}

// sync has the log of the current memory table on the disk when it returns.
func (in *internals) sync() error {
	file, _, _ := in.log()
	return in.syncFile(file)
}

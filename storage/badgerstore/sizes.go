package badgerstore

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4/skl"
	"github.com/dgraph-io/ristretto/v2/z"

	"ocapkernel.dev/storage"
)

// How large logs become. What a log holds is written again, into a table; what is written over or deleted takes its place in
// tables until compactions drop it, and in value logs until they are collected. So logs whose size is in proportion to the
// state keep all of that in proportion to the state, and a large state is not compacted more often than it needs.
//
// Badger has one option for the size of a memory table, of which a transaction may have 15 %, and one for the size of a value log.
// Each is taken apart here: a transaction is as large as ever, whatever the size of the logs. The log of a memory table is
// mapped at twice maxLogBytes, and its memory at what sizes says, so that there is room for a transaction behind a log that is
// nearly full.
const (
	// transactionTable is the size of a memory table of which a transaction is 15 %, about 10 MB and 100,000 rows. The logs of
	// earlier versions were as large.
	transactionTable = 64 << 20
	transactionBytes = transactionTable * 15 / 100
	transactionRows  = transactionBytes / skl.MaxNodeSize
	// minLogBytes and maxLogBytes bound the content at which the log of a memory table is full. At most three memory tables
	// are held in memory.
	minLogBytes, maxLogBytes = 2 << 20, 16 << 20
	// minValueLogBytes and maxValueLogBytes bound the content at which a value log is full.
	minValueLogBytes, maxValueLogBytes = 3 << 20, 64 << 20
	// mappedBeyond is how far value logs are mapped beyond the content at which they are full. It is more than a transaction.
	mappedBeyond = 16 << 20
)

// fullLog returns the content at which a log is full, where all tables have so many bytes. Where commits do not wait for the
// disk, a full log does, and so logs are as large as they may be.
func fullLog(tables int64, d Durability) int64 {
	if d == Process {
		return maxLogBytes
	}
	return min(max(tables/8, minLogBytes), maxLogBytes)
}

// fullValueLog returns the content at which a value log is full, where the values that rows have in value logs have so many bytes.
func fullValueLog(live int64) int64 { return min(max(live/4, minValueLogBytes), maxValueLogBytes) }

// sizeLogs decides how large the current logs become, before a commit of these writes. Badger begins a value log at the end of
// any commit behind which the current one is full. There has to be room for that, which is asked for with large values only: so
// a commit without any leaves the log as it is.
func (s *Store) sizeLogs(writes []storage.Write) error {
	if next := *s.internals.nextLog; s.sized != next {
		tables, err := s.reserve.tableBytes()
		if err != nil {
			return shortage(err)
		}
		s.internals.option("MemTableSize").SetInt(fullLog(tables, s.durability))
		s.sized = next
	}
	full := fullValueLog(s.values.bytes)
	if _, values := logged(writes); values == 0 {
		full = max(full, int64(s.internals.valuesEnd.Load()))
	}
	s.internals.valueLogSize.SetInt(full)
	return nil
}

// widen lets transactions be larger than 15 % of a memory table, in a database that has just been opened.
func (in *internals) widen(db reflect.Value) {
	// Compactions copy the options, after they have taken this lock.
	lock := variable(variable(variable(db, "lc").Elem(), "cstatus"), "RWMutex").Addr().Interface().(*sync.RWMutex)
	lock.Lock()
	defer lock.Unlock()
	options := variable(db, "opt")
	variable(options, "maxBatchSize").SetInt(transactionBytes)
	variable(options, "maxBatchCount").SetInt(int64(transactionRows))
	_, _, rows := in.log()
	wider := skl.NewSkiplist(maxLogBytes + transactionBytes + int64(transactionRows*skl.MaxNodeSize))
	wider.OnClose = rows.OnClose
	variable(in.table.Elem(), "sl").Set(reflect.ValueOf(wider))
}

// option returns an option of the current memory table, as a variable.
func (in *internals) option(name string) reflect.Value {
	return variable(variable(in.table.Elem(), "opt"), name)
}

// full reports whether the next commit begins a log.
func (in *internals) full() bool {
	_, end, rows := in.log()
	most := in.option("MemTableSize").Int()
	return end >= most || rows.MemSize() >= most
}

// stretch maps the value log that is written to as far as a commit may write. Badger would map it anew within the commit, at
// another place in memory, while others read in it.
func (in *internals) stretch() error {
	log, lock := in.lastValueLog()
	end := max(int64(in.valuesEnd.Load()), in.valueLogSize.Int()) + mappedBeyond
	if end > math.MaxUint32 {
		return fmt.Errorf("value log %06d.vlog would have %d bytes", *in.lastValues, end)
	}
	if int64(len(log.Data)) >= end-mappedBeyond/8 {
		return nil
	}
	lock.Lock()
	defer lock.Unlock()
	return remap(log, end)
}

// remap makes a log as long as end, and maps it so. Its error wraps [storage.ErrNoRoom] if that lacks room, and the log is mapped
// as it was. A log that could not be synced before is another matter: its pages may be lost.
func remap(log *z.MmapFile, end int64) error {
	mapped := log.Data
	err := log.Truncate(end)
	if err == nil {
		return nil
	}
	if log.Data == nil {
		log.Data = mapped // mremap failed, and has left it
	}
	if short, ok := shortageIn(err); ok && !strings.HasPrefix(err.Error(), "while sync file") {
		return fmt.Errorf("%w: %w", storage.ErrNoRoom, short)
	}
	return err
}

// doNotCompact has Badger leave the newest tables as they are when it is closed. A goroutine of Badger that copies all options at
// this moment does not use this one.
func (in *internals) doNotCompact() { in.atClose.SetBool(false) }

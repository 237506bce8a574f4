package badgerstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"

	"github.com/dgraph-io/badger/v4/y"
)

// The bits of an entry's meta byte, and the sizes of the parts around entries: Badger's value.go and
// memtable.go.
const (
	bitDelete       = 1 << 0
	bitValuePointer = 1 << 1
	bitTxn          = 1 << 6
	bitFinTxn       = 1 << 7

	logHeaderBytes = 20 // the id of a key of encryption, which is 0 for us, and a random number
	pointerBytes   = 12 // file, length and offset of a value that is kept in a value log, 4 bytes each
	versionBytes   = 8  // the version that ends a key
)

// entry is one entry of a log.
type entry struct {
	meta       byte
	key, value []byte // the key ends in its version
	bytes      int64  // its length in the file
}

// errTorn means that a log has no further entry: its end, or a place that is no entry.
var errTorn = errors.New("no entry")

// readEntry reads the next entry of a log, of which limit bytes are left. It returns errTorn for bytes that
// Badger would not take for an entry; other errors are the disk's.
func readEntry(r *bufio.Reader, limit int64) (entry, error) {
	sum := crc32.New(y.CastagnoliCrcTable)
	head := &summed{r: r, sum: sum}
	var e entry
	var numbers [3]uint64 // the lengths of key and value, and when the entry expires
	meta, err := head.ReadByte()
	if err == nil {
		_, err = head.ReadByte() // user meta
	}
	for i := range numbers {
		if err == nil {
			numbers[i], err = binary.ReadUvarint(head)
		}
	}
	keyBytes, valueBytes := numbers[0], numbers[1]
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || err != nil && head.failed == nil:
		return e, errTorn // a varint that is too long is no error of the disk
	case err != nil:
		return e, err
	case keyBytes <= versionBytes || keyBytes > 1<<16 || valueBytes > uint64(limit):
		return e, errTorn
	}
	content := make([]byte, keyBytes+valueBytes+crc32.Size)
	if _, err := io.ReadFull(r, content); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return e, errTorn
	} else if err != nil {
		return e, err
	}
	body := content[:keyBytes+valueBytes]
	_, _ = sum.Write(body) // a hash has no errors
	if sum.Sum32() != binary.BigEndian.Uint32(content[len(body):]) {
		return e, errTorn
	}
	return entry{meta: meta, key: body[:keyBytes], value: body[keyBytes:], bytes: head.n + int64(len(content))}, nil
}

// summed hands on the bytes of a reader one by one, and sums them up.
type summed struct {
	r      *bufio.Reader
	sum    io.Writer
	n      int64
	failed error // the reader's error
}

func (s *summed) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err != nil {
		s.failed = err
		return 0, err
	}
	s.n++
	_, _ = s.sum.Write([]byte{b}) // a hash has no errors
	return b, nil
}

// logFile is a log, as the examination found it.
type logFile struct {
	path string
	id   uint64
	size int64
	// end is the offset at which Badger would cut the log: behind its last whole transaction, or, of the newest value log,
	// behind its last whole entry. Badger cuts no other value log.
	end int64
	// first and last are the versions of its transactions; 0 if it holds none.
	first, last uint64
}

// readLog reads a log of the memory table, and calls row for each row of a whole transaction.
func readLog(f *logFile, row func(key []byte, version uint64, meta byte, value []byte)) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	r, err := beginLog(file, f)
	if r == nil || err != nil {
		return err
	}
	at := f.end
	var txn uint64 // the version of the transaction that is being read; 0 between two
	var rows []entry
	for {
		e, err := readEntry(r, f.size-at)
		if errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", f.path, err)
		}
		at += e.bytes
		version := y.ParseTs(e.key)
		switch {
		case e.meta&bitTxn != 0:
			if txn != 0 && txn != version {
				return nil
			}
			txn = version
			rows = append(rows, e)
			continue
		case e.meta&bitFinTxn != 0:
			if n, err := strconv.ParseUint(string(e.value), 10, 64); err != nil || n != txn || txn == 0 {
				return nil
			}
		default: // no entry of ours: each Commit is a transaction
			return nil
		}
		for _, e := range rows {
			row(y.ParseKey(e.key), txn, e.meta, e.value)
		}
		if f.first == 0 {
			f.first = txn
		}
		f.last, f.end = txn, at
		txn, rows = 0, rows[:0]
	}
}

// beginLog sets end behind the header of a log, and returns a reader of the rest; nil if there is no rest.
func beginLog(file *os.File, f *logFile) (*bufio.Reader, error) {
	header := make([]byte, logHeaderBytes)
	if n, err := io.ReadFull(file, header); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		f.end = int64(n) // a kill, or a cut, came before the first entry
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.path, err)
	}
	if key := binary.BigEndian.Uint64(header); key != 0 {
		return nil, damaged("%s names the encryption key %d, and there is none", f.path, key)
	}
	f.end = logHeaderBytes
	return bufio.NewReaderSize(file, 1<<18), nil
}

// readValueLog finds the end of a value log: of the newest one, behind its last whole entry, of another, its size.
func readValueLog(f *logFile, newest bool) error {
	file, err := os.Open(f.path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	r, err := beginLog(file, f)
	if r == nil || err != nil {
		return err
	}
	if !newest {
		f.end = f.size
		return nil
	}
	for {
		e, err := readEntry(r, f.size-f.end)
		if errors.Is(err, errTorn) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", f.path, err)
		}
		f.end += e.bytes
	}
}

// valueAt reads a value in a value log, by the pointer in its row, and verifies its checksum.
func (s *Snapshot) valueAt(key string, pointer []byte) ([]byte, error) {
	if len(pointer) != pointerBytes {
		return nil, damaged("row %.80q points to its value with %d bytes", key, len(pointer))
	}
	fid, length, offset := binary.NativeEndian.Uint32(pointer), binary.NativeEndian.Uint32(pointer[4:]), binary.NativeEndian.Uint32(pointer[8:])
	file, ok := s.values[fid]
	if !ok {
		return nil, damaged("row %.80q has its value in value log %06d.vlog, which is missing", key, fid)
	}
	if int64(offset)+int64(length) > file.end {
		return nil, damaged("%s has %d bytes that are as they were written, row %.80q has its value at %d to %d", file.path, file.end, key, offset, int64(offset)+int64(length))
	}
	f, err := os.Open(file.path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	e, err := readEntry(bufio.NewReaderSize(io.NewSectionReader(f, int64(offset), int64(length)), 1<<16), int64(length))
	if errors.Is(err, errTorn) || err == nil && (e.bytes != int64(length) || string(y.ParseKey(e.key)) != key) {
		return nil, damaged("%s is not what was written at %d, where row %.80q has its value", file.path, offset, key)
	}
	return e.value, err
}

// Package backup is the form of a backup: the rows of a state at one moment, as a stream of bytes that can be read once
// from the beginning to the end.
//
//	line      "ocapkernel backup 1"
//	line      a [Header], as JSON
//	rows      for each row: length of the key, key, length of the value, value; in the order of the keys
//	end       a key of length 0; number of the rows; SHA-256 of everything before the sum
//
// Lengths and numbers are unsigned varints. A stream that was cut, or of which any bit was changed, is recognized at its
// end: nothing that a [Reader] has returned may be relied on before its [Reader.Next] has returned [io.EOF].
//
// # Concurrency
//
// Each value of this package belongs to one goroutine.
package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"ocapkernel.dev/storage"
)

const (
	magic = "ocapkernel backup 1\n"
	// maxHeaderBytes bounds the line of the header, maxValueBytes a value: a commit of any store is smaller.
	maxHeaderBytes = 4096
	maxValueBytes  = 16 << 20
	// chunkBytes is how many bytes a source makes at a time, about.
	chunkBytes = 256 << 10
)

// ErrDamaged is returned, wrapped, by a [Reader] for a stream that is no backup, or is not as it was written. The state
// has to be restored from another backup.
var ErrDamaged = errors.New("the backup is not as it was written")

// Header says which state, of which moment, a backup holds.
type Header struct {
	// Schema is the version of the schema of the rows.
	Schema uint64 `json:"schema"`
	// Epoch identified the state in tickets.
	Epoch string `json:"epoch"`
	// Commit is the number of the last commit, Cranks the number of deliveries up to it.
	Commit uint64 `json:"commit"`
	Cranks uint64 `json:"cranks"`
	// Vats and Subclusters are numbers of vats and subclusters.
	Vats        int `json:"vats"`
	Subclusters int `json:"subclusters"`
	// Taken is the time of the backup, Version the version of the program that made it.
	Taken   time.Time `json:"taken"`
	Version string    `json:"version"`
}

// Source is the stream of a state.
type Source struct {
	rows  storage.Reader
	ready bytes.Buffer // made, and not yet read
	sum   hash.Hash
	after string
	count uint64
	ended bool
	err   error
}

// NewSource returns the stream of the rows of a state, which must not change meanwhile. The source reads the rows while it
// is read, and holds a few of them in memory. After an error of the state's, each Read returns that error.
func NewSource(h Header, rows storage.Reader) (*Source, error) {
	line, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(line) >= maxHeaderBytes {
		return nil, fmt.Errorf("the header of the backup has %d bytes, the limit is %d", len(line), maxHeaderBytes)
	}
	s := &Source{rows: rows, sum: sha256.New()}
	s.put([]byte(magic))
	s.put(append(line, '\n'))
	return s, nil
}

// Read implements [io.Reader].
func (s *Source) Read(p []byte) (int, error) {
	for s.ready.Len() == 0 && s.err == nil {
		s.err = s.more()
	}
	if s.ready.Len() > 0 {
		return s.ready.Read(p)
	}
	return 0, s.err
}

// more makes the next bytes. It returns io.EOF behind the end of the stream.
func (s *Source) more() error {
	if s.ended {
		return io.EOF
	}
	for s.ready.Len() < chunkBytes {
		key, value, found, err := s.rows.Next("", s.after)
		switch {
		case err != nil:
			return err
		case !found:
			s.put(binary.AppendUvarint([]byte{0}, s.count))
			s.ready.Write(s.sum.Sum(nil))
			s.ended = true
			return nil
		case len(key) > storage.MaxKeyBytes || len(value) > maxValueBytes:
			return fmt.Errorf("row %.80q has a value of %d bytes, and a backup takes %d: %w", key, len(value), maxValueBytes, storage.ErrCorrupt)
		}
		s.put(append(binary.AppendUvarint(nil, uint64(len(key))), key...))
		s.put(binary.AppendUvarint(nil, uint64(len(value))))
		s.put(value)
		s.after = key
		s.count++
	}
	return nil
}

// put adds bytes that the sum covers.
func (s *Source) put(b []byte) {
	s.ready.Write(b)
	_, _ = s.sum.Write(b) // a hash has no errors
}

// Reader reads a stream.
type Reader struct {
	in     *bufio.Reader
	sum    hash.Hash
	header Header
	last   string
	count  uint64
	ended  bool
}

// NewReader reads the beginning of a stream. The error is [ErrDamaged], wrapped, if the stream is no backup.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 64<<10), sum: sha256.New()}
	first := make([]byte, len(magic))
	if err := r.full(first); err != nil {
		return nil, err
	}
	if string(first) != magic {
		return nil, fmt.Errorf("%w: it does not begin as a backup does, or a later version made it", ErrDamaged)
	}
	var line []byte
	for len(line) == 0 || line[len(line)-1] != '\n' {
		b, err := r.ReadByte()
		if err != nil {
			return nil, cut(err)
		}
		if line = append(line, b); len(line) > maxHeaderBytes {
			return nil, fmt.Errorf("%w: its header does not end", ErrDamaged)
		}
	}
	if err := json.Unmarshal(line, &r.header); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamaged, err)
	}
	return r, nil
}

// Header returns the header.
func (r *Reader) Header() Header { return r.header }

// Rows returns the number of rows that were read.
func (r *Reader) Rows() uint64 { return r.count }

// Next returns the next row, in the order of the keys. It returns [io.EOF] behind the last row, if the whole stream is as it
// was written, and [ErrDamaged], wrapped, if it is not. Other errors are those of the stream's own reader.
func (r *Reader) Next() (key string, value []byte, err error) {
	if r.ended {
		return "", nil, io.EOF
	}
	n, err := r.length(storage.MaxKeyBytes)
	if err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, r.end()
	}
	name := make([]byte, n)
	if err := r.full(name); err != nil {
		return "", nil, err
	}
	if key = string(name); key <= r.last && r.count > 0 || key[0] == '!' {
		return "", nil, fmt.Errorf("%w: row %d is not where it belongs", ErrDamaged, r.count+1)
	}
	if n, err = r.length(maxValueBytes); err != nil {
		return "", nil, err
	}
	value = make([]byte, n)
	if err := r.full(value); err != nil {
		return "", nil, err
	}
	r.last = key
	r.count++
	return key, value, nil
}

// end reads the end of the stream. It returns io.EOF if everything is as it was written.
func (r *Reader) end() error {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return cut(err)
	}
	want := r.sum.Sum(nil)
	got := make([]byte, sha256.Size)
	if _, err := io.ReadFull(r.in, got); err != nil {
		return cut(err)
	}
	if n != r.count || !bytes.Equal(got, want) {
		return fmt.Errorf("%w: its checksum is wrong", ErrDamaged)
	}
	switch _, err := r.in.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: it goes on behind its end", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return err
	}
	r.ended = true
	return io.EOF
}

// length reads a length, which is most at most.
func (r *Reader) length(most uint64) (int, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return 0, cut(err)
	}
	if n > most {
		return 0, fmt.Errorf("%w: row %d is too long", ErrDamaged, r.count+1)
	}
	return int(n), nil
}

// ReadByte reads a byte that the sum covers.
func (r *Reader) ReadByte() (byte, error) {
	b, err := r.in.ReadByte()
	if err == nil {
		_, _ = r.sum.Write([]byte{b}) // a hash has no errors
	}
	return b, err
}

// full fills b with bytes that the sum covers.
func (r *Reader) full(b []byte) error {
	if _, err := io.ReadFull(r.in, b); err != nil {
		return cut(err)
	}
	_, _ = r.sum.Write(b) // a hash has no errors
	return nil
}

// errOverflow is the text of the error of binary.ReadUvarint for a number that is none.
const errOverflow = "binary: varint overflows a 64-bit integer"

// cut gives an error that is due to the content of the stream the meaning that the stream is damaged.
func cut(err error) error {
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it was cut", ErrDamaged)
	case err.Error() == errOverflow:
		return fmt.Errorf("%w: a length is no number", ErrDamaged)
	}
	return err
}

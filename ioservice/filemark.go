package ioservice

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// headBytes is how many of the first bytes of a file are remembered.
const headBytes = 1024

// fileMark identifies a file: its device and inode, and its first bytes, as far as they were read.
type fileMark struct {
	dev, ino uint64
	head     []byte
}

func markOf(file *os.File) *fileMark {
	m := &fileMark{}
	if info, err := file.Stat(); err == nil {
		m.dev, m.ino = ids(info)
	}
	return m
}

// add notes bytes that were read at an offset.
func (m *fileMark) add(offset int64, data []byte) {
	if offset == int64(len(m.head)) && len(m.head) < headBytes {
		m.head = append(m.head, data[:min(len(data), headBytes-len(m.head))]...)
	}
}

// compare returns the reason why a file no longer holds the bytes that were read of it, size bytes with the
// latest read; nil if it holds them.
func (m *fileMark) compare(cfg Config, file *os.File, size int64) (other, err error) {
	head, whole, err := content(file, len(m.head), size)
	switch {
	case err != nil:
		return nil, cfg.fail(err, ": %v", err)
	case !whole:
		return cfg.other("the file became shorter than what was read of it"), nil
	case !bytes.Equal(head, m.head):
		return cfg.other("the file has another content than what was read of it"), nil
	}
	return nil, nil
}

// content returns the first bytes of a file, and whether the file is at least of a size. It reads to find that
// out: the operating system gives the size 0 for files of /proc that have content.
func content(file *os.File, bytes int, size int64) (head []byte, whole bool, err error) {
	head = make([]byte, bytes)
	_, err = file.ReadAt(head, 0) // a read of no bytes reads nothing
	if err == nil && size > int64(bytes) {
		_, err = file.ReadAt(make([]byte, 1), size-1)
	}
	if errors.Is(err, io.EOF) {
		return nil, false, nil
	}
	return head, err == nil, err
}

// storedMark is a fileMark in the state of a channel: a hash stands for the first bytes.
type storedMark struct {
	dev, ino uint64
	bytes    int
	sum      string
}

// stored returns the stored form of a mark when the file was read up to an offset.
func (m *fileMark) stored(offset int64) storedMark {
	head := m.head[:min(int64(len(m.head)), offset)]
	return storedMark{m.dev, m.ino, len(head), sumOf(head)}
}

func sumOf(head []byte) string {
	sum := sha256.Sum256(head)
	return hex.EncodeToString(sum[:12])
}

func (s storedMark) String() string {
	return fmt.Sprintf("%d:%d:%d:%s", s.dev, s.ino, s.bytes, s.sum)
}

func parseMark(text string) (s storedMark, ok bool) {
	parts := strings.Split(text, ":")
	if len(parts) != 4 {
		return s, false
	}
	var errs [3]error
	var n uint64
	s.dev, errs[0] = strconv.ParseUint(parts[0], 10, 64)
	s.ino, errs[1] = strconv.ParseUint(parts[1], 10, 64)
	n, errs[2] = strconv.ParseUint(parts[2], 10, 16)
	s.bytes, s.sum = int(n), parts[3]
	return s, errs == [3]error{} && s.bytes <= headBytes && len(s.sum) == 24
}

// identify compares an open file with the stored mark of the file that was read. A state that has only the
// offset, as earlier versions stored it, is believed if the file is as long.
//
// A file is another one if its inode or its first bytes are others. The number of its device may change when
// the machine is started again, so it counts only where no byte was read.
func (c Config) identify(file *os.File, at place) (m *fileMark, other, err error) {
	m = markOf(file)
	if at.offset == 0 {
		return m, nil, nil
	}
	n := int(min(at.offset, headBytes))
	if at.stored != nil {
		n = at.stored.bytes
	}
	head, whole, err := content(file, n, at.offset)
	switch {
	case err != nil:
		return nil, nil, c.fail(err, ": %v", err)
	case !whole:
		return m, c.other("the file is shorter than what was read of it"), nil
	}
	if s := at.stored; s != nil && (s.ino != m.ino || s.sum != sumOf(head) || n == 0 && s.dev != m.dev) {
		return m, c.other("the file is another one than was read"), nil
	}
	m.head = head
	return m, nil, nil
}

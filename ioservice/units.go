package ioservice

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"
)

// A splitter cuts the bytes that arrive into units. It holds the bytes that have not been given yet.
type splitter struct {
	cfg Config
	// buf holds the bytes that have arrived, from start; up to scanned they have no end of line.
	buf            []byte
	start, scanned int
	// skipping is set while the rest of a line that was too long is dropped.
	skipping bool
	// taken counts all bytes that have left the splitter, in units or dropped.
	taken int64
}

// room returns how many bytes may be added: up to 64 KiB, and for a line as many as make it whole or too long.
func (p *splitter) room() int {
	most := maxChunkBytes
	if p.cfg.Unit == Line {
		most += p.longest()
	}
	return max(0, most-p.held())
}

// longest returns the length of the longest line with its end.
func (p *splitter) longest() int { return p.cfg.MaxUnitBytes + len("\r\n") }

func (p *splitter) held() int { return len(p.buf) - p.start }

func (p *splitter) add(data []byte) {
	if p.start == len(p.buf) {
		p.start, p.scanned = 0, 0
		p.buf = p.buf[:0]
		if cap(p.buf) > maxChunkBytes {
			p.buf = nil
		}
	} else if p.start > len(p.buf)/2 {
		p.buf = p.buf[:copy(p.buf, p.buf[p.start:])]
		p.scanned -= p.start
		p.start = 0
	}
	p.buf = append(p.buf, data...)
}

// next takes the next unit, or an error in the place of bytes that are no unit. ok is false if more bytes must
// arrive first; ended is set if none will.
func (p *splitter) next(ended bool) (value string, err error, ok bool) {
	if p.cfg.Unit == Line {
		return p.line(ended)
	}
	rest := p.buf[p.start:]
	if len(rest) == 0 {
		return "", nil, false
	}
	chunk := rest[:min(len(rest), maxChunkBytes, p.cfg.MaxUnitBytes)]
	if p.cfg.Unit == Bytes {
		p.take(len(chunk))
		return base64.StdEncoding.EncodeToString(chunk), nil, true
	}
	n := 0
	for n < len(rest) {
		r, size := utf8.DecodeRune(rest[n:])
		if r == utf8.RuneError && size == 1 {
			if n > 0 {
				break // first the text before it
			}
			if !ended && !utf8.FullRune(rest) {
				return "", nil, false
			}
			bad := rest[0]
			p.take(1)
			return "", p.cfg.fail(ErrInvalidText, ": byte %#02x at 0 is not UTF-8: it was dropped (to read any bytes, make the unit bytes)", bad), true
		}
		if n > 0 && n+size > len(chunk) {
			break
		}
		n += size
		if p.cfg.Unit == Chars {
			break
		}
	}
	p.take(n)
	return string(rest[:n]), nil, true
}

// line is next for the unit Line.
func (p *splitter) line(ended bool) (value string, err error, ok bool) {
	rest := p.buf[p.start:]
	end := bytes.IndexByte(p.buf[p.scanned:], '\n')
	if p.skipping {
		if end < 0 {
			p.take(len(rest))
			p.skipping = !ended
			return "", nil, false
		}
		p.take(p.scanned - p.start + end + 1)
		p.skipping = false
		return p.line(ended)
	}
	var line []byte
	switch {
	case end >= 0:
		whole := rest[:p.scanned-p.start+end]
		line = bytes.TrimSuffix(whole, []byte("\r"))
		p.take(len(whole) + 1)
	case ended && len(rest) == 0:
		return "", nil, false
	case ended:
		line = rest
		p.take(len(rest))
	case len(rest) >= p.longest():
		p.take(len(rest))
		p.skipping = true
		line = rest
	default:
		p.scanned = len(p.buf)
		return "", nil, false
	}
	if len(line) > p.cfg.MaxUnitBytes {
		return "", p.cfg.fail(ErrTooLong, ": a line is longer than %d bytes: it was skipped (send shorter ones, or raise the limit of a unit)", p.cfg.MaxUnitBytes), true
	}
	if !utf8.Valid(line) {
		at := 0
		for {
			r, size := utf8.DecodeRune(line[at:])
			if r == utf8.RuneError && size == 1 {
				break
			}
			at += size
		}
		return "", p.cfg.fail(ErrInvalidText, ": a line is not UTF-8: byte %#02x at %d; it was skipped (to read any bytes, make the unit bytes)", line[at], at), true
	}
	return string(line), nil, true
}

// take drops n bytes from the front.
func (p *splitter) take(n int) {
	p.start += n
	p.scanned = p.start
	p.taken += int64(n)
}

// encode returns the bytes that a write of the unit sends.
func (c Config) encode(value string) ([]byte, error) {
	if c.Unit == Bytes {
		if len(value) > base64.StdEncoding.EncodedLen(maxWriteBytes) {
			return nil, c.fail(ErrLimit, ": a write of %d characters: at most %d bytes at once", len(value), maxWriteBytes)
		}
		data, err := base64.StdEncoding.Strict().DecodeString(value)
		if err != nil || strings.ContainsAny(value, "\r\n") {
			return nil, c.fail(ErrInvalidText, ": the unit is bytes: write them in standard base64")
		}
		return data, nil
	}
	if len(value) >= maxWriteBytes {
		return nil, c.fail(ErrLimit, ": a write of %d bytes: less than %d at once", len(value), maxWriteBytes)
	}
	if !utf8.ValidString(value) {
		return nil, c.fail(ErrInvalidText, ": the text is not UTF-8: write text, or make the unit bytes")
	}
	if c.Unit != Line {
		return []byte(value), nil
	}
	if at := strings.IndexByte(value, '\n'); at >= 0 {
		return nil, c.fail(ErrInvalidText, ": the line contains an end of line at %d: write one line at a time", at)
	}
	return append([]byte(value), '\n'), nil
}

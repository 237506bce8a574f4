package ioservice

// A tear is true if only a part of the last unit was written to a file or console: the disk was full, or the
// reader paused. The next unit follows that part; where units are lines, it begins a line of its own, so that
// it is not taken for the rest of the torn one.
type tear bool

// write has data written by do, and returns how many bytes of the data were written.
func (t *tear) write(cfg Config, data []byte, do func([]byte) (int, error)) (int, error) {
	if !bool(*t) || cfg.Unit != Line {
		n, err := do(data)
		*t = n > 0 && n < len(data)
		return n, err
	}
	n, err := do(append([]byte{'\n'}, data...))
	if n == 0 {
		return 0, err
	}
	n--
	*t = n > 0 && n < len(data)
	return n, err
}

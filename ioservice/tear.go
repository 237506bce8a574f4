package ioservice

// A tear is whether the last unit that went to a file or console was written in part: the disk was full, or nobody read for a
// while. What is written next follows that part; where units are lines, it begins a line of its own, so that it is not
// taken for the rest of the torn one.
type tear bool

// write has data written by do, which returns how many bytes were, and returns the same of the data alone.
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

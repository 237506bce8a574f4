package host

// sliceItems is how many elements one step of inSlices takes.
const sliceItems = 10

// inSlices calls each for the elements of a list, a few in a step, with others' steps between, and then done. A kernel that
// stops begins no further step.
func inSlices[T any](c *core, list []T, each func(T), done func()) {
	n := min(len(list), sliceItems)
	for _, x := range list[:n] {
		each(x)
	}
	if n == len(list) {
		done()
		return
	}
	c.later(func() {
		if !c.stopping {
			inSlices(c, list[n:], each, done)
		}
	})
}

package pipeline

// An input to the owner (a call, the reply of a service, the state of an object) may be large. If the group for that input
// becomes full while the committer is busy, the owner has to wait for the committer; and the committer may wait for
// descriptors, or for room on the disk. So such an input waits in the intake until its commit can be handed over, and the
// owner goes on: it answers questions, and hears that it is to stop. The giver of the input waits with it: a caller waits
// for its answer, a service object is held to its bounds of calls and backlog. That bounds the intake.

// input is a value that waits in the intake, with its size.
type input[T any] struct {
	bytes int // of its commit, about
	v     T
}

// takeRoom is the room in a group that a commit takes beside the data of its input.
const takeRoom = 64 << 10

// Enter reports whether v has to wait until a commit of about so many bytes can be applied without waiting for the
// committer. If v has to wait, the intake keeps it until [Pipeline.Next] returns it. Otherwise the owner takes v at once,
// and the intake does not keep it.
func (p *Pipeline[T]) Enter(bytes int, v T) (waits bool) {
	if len(p.intake) == 0 && p.hasRoom(bytes) {
		return false
	}
	p.intake = append(p.intake, input[T]{bytes, v})
	return true
}

// Next returns the value that has waited longest, if there is room for its commit now.
func (p *Pipeline[T]) Next() (v T, ok bool) {
	if len(p.intake) == 0 || !p.hasRoom(p.intake[0].bytes) {
		return v, false
	}
	v = p.intake[0].v
	p.intake = p.intake[1:]
	return v, true
}

// hasRoom reports whether a commit of about so many bytes can be applied now. In a hurry the committer waits for
// impatientWait only, so that all is taken.
func (p *Pipeline[T]) hasRoom(bytes int) bool {
	switch {
	case p.impatient.Load():
		return true
	case p.Waits(), p.room.lacks != "" && !p.room.full:
		return false
	}
	rows, size := p.cfg.Layers.Size()
	return !p.busy || rows == 0 || size+bytes+takeRoom < p.cfg.Store.Limits().Bytes/2
}

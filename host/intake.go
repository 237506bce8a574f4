package host

import "ocapkernel.dev/workers"

// What somebody outside of the loop gives it to store (a call, the reply of a service, the state of an object) may be large.
// If the group that it goes into becomes full while the committer is busy, the loop has to wait for the committer; and the
// committer may wait for descriptors, or for room on the disk. So such an input waits in the intake until its commit can be
// handed over, and the loop goes on: it answers questions, and hears that it is to stop. Who gives the input waits with it,
// which bounds the intake: a caller for its answer, a service object within its calls and its backlog.

// input is what waits in the intake.
type input struct {
	bytes int // of its commit, about
	take  func()
}

// takeRoom is what a commit takes beside the data that it is about.
const takeRoom = 64 << 10

// whenRoom calls take, in the loop, when its commit of about so many bytes does not have the loop wait. Inputs are taken in
// their order.
func (k *Shell) whenRoom(bytes int, take func()) {
	if len(k.intake) == 0 && k.roomFor(bytes) {
		take()
		return
	}
	k.intake = append(k.intake, input{bytes, take})
}

// takeIntake takes what there is room for.
func (k *Shell) takeIntake() {
	for len(k.intake) > 0 && k.fatal == nil && k.roomFor(k.intake[0].bytes) {
		in := k.intake[0]
		k.intake = k.intake[1:]
		k.guard(in.take)
	}
}

// roomFor reports whether a commit of about so many bytes can be applied now. When the kernel is told to stop the committer
// waits for impatientWait only, so that all is taken.
func (k *Shell) roomFor(bytes int) bool {
	switch {
	case k.stops():
		return true
	case k.group.waits.Load() != nil, k.lacks != "" && !k.diskFull:
		return false
	}
	rows, size := k.layers.Size()
	return !k.group.busy || rows == 0 || size+bytes+takeRoom < k.cfg.Store.Limits().Bytes/2
}

// heard are the events of workers. While a commit waits they are not heard: the cranks that they end would fill the next
// group. What a worker has to say waits with it.
func (k *Shell) heard() <-chan workers.Event {
	if k.group.waits.Load() != nil && !k.stops() {
		return nil
	}
	return k.events
}

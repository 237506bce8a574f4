package kernel

import "ocapkernel.dev/storage"

// AskForSearch has the kernel's own work of a state search for stranded promises, as a salvage does.
func AskForSearch(mem *storage.Mem) {
	t := NewView(mem).begin(0)
	t.addWork(work{kind: workStranded})
	if err := mem.Commit(t.writes()); err != nil {
		panic(err)
	}
}

// ResultIn returns the result of the message in a row of a queue, of parked messages, or of calls.
func ResultIn(row storage.Write) KRef {
	return NewView(storage.NewMem()).begin(0).resultIn(row.Key, row.Value)
}

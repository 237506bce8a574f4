package kernel_test

import "ocapkernel.dev/kernel"

// channel is the setup keep, with a channel of a third subcluster that a and b know as $in. a has called for a line,
// and told b of the promise; both wait for it.
func channel(w *world) {
	keep(w)
	w.withServices(own("in"), "d")
	in := must(w.m.ServiceNamed("io:s3:in"))
	w.call("E1.ina", "ko4", "in", in)
	w.deliver("v1", "let in $0\nsend $0 read -> p+3\nsubscribe p+3\nsend $b line p+3\nresolve $r=null")
	w.deliver("v2", "let line $0\nsubscribe $0")
	w.call("E1.inb", "ko5", "in", in)
	w.deliver("v2", "let in $0\nresolve $r=null")
}

// input gives the first call of the channel a line, if it still waits.
func input(w *world) {
	in := must(w.m.ServiceNamed("io:s3:in"))
	c, _, err := w.m.Complete(kernel.CallID{Service: in}, kernel.Completion{Value: kernel.Data{Body: `#"line"`}, Unit: "read"}, w.now)
	w.do(c, err)
}

func serviceInterleavings() []interleaving {
	two := []kernel.VatID{"v1", "v2"}
	goes := func(w *world) {
		channel(w)
		w.call("E1.a", "ko4", "go")
		w.call("E1.b", "ko5", "go")
	}
	script := map[string]string{
		"v1.go": "send $in one p+1 o+1 -> p+4\nsend $in two -> p+5\nsubscribe p+4\nsubscribe p+3\nresolve $r=(p+3 p+4)",
		"v2.go": "send $in one $a1 $in -> p+3\nsubscribe p+3\nsend $in two $line -> p+4\nresolve $r=(p+3 $line)",
	}
	return []interleaving{
		{name: "a line comes while two vats call", setup: goes, vats: two, script: script, other: input},
		{
			name: "a service object ends while two vats call it", setup: goes, vats: two, script: script,
			other: func(w *world) { w.do(w.m.EndService(must(w.m.ServiceNamed("io:s3:in")))) },
		},
		{
			name: "a service object is revoked while two vats call it", setup: goes, vats: two, script: script,
			other: func(w *world) { w.do(w.m.Revoke(must(w.m.ServiceNamed("io:s3:in")))) },
		},
		{
			name: "the memory that asked for a line is lost while two vats are told of it", vats: two,
			setup: func(w *world) { channel(w); input(w) },
			other: func(w *world) { w.do(w.m.Restart("v1", true)) },
		},
		{
			name: "the vat that asked for a line is terminated while two vats are told of it", vats: two,
			setup: func(w *world) { channel(w); input(w) },
			other: func(w *world) { w.do(w.m.TerminateVat("v1")) },
		},
	}
}

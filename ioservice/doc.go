// Package ioservice makes IO channels, through which vats exchange units of text or bytes with the world
// outside. A channel is a Unix socket or a TCP port to which clients connect, a connection to a server, a file,
// or the console of the process. The package knows nothing of the kernel.
//
//	c, err := ioservice.Open(cfg, ioservice.Options{Dir: dir, State: stored, Commit: commit})
//	c.Read(func(u ioservice.Unit, err error) { … })
//	c.Write("hello", func(err error) { … })
//
// # Clients
//
// A channel that is a socket or listens serves one client at a time, or gives each connection a [Stream] of its
// own. The first call decides: after [Stream.Read] or [Stream.Write] it serves clients itself, one by one, and
// Accept is refused with [ErrUse]; after [Channel.Accept] it only hands out streams, and Read and Write are
// refused. The decision holds until the channel is closed.
//
// A client begins with its connection and ends when the vat has read its [Unit.End]. A write in between goes to
// that client or fails: an answer never reaches the next client by mistake. A client that has shut down its
// sending side still gets the writes, until it is gone. TCP does not show when it is gone: over TCP it is given
// up for the next client once no write waits and the vat reads on. Meanwhile that next client waits; all other
// clients get a line which says that the channel is taken, and are closed.
//
// The vat must read the input of a channel of direction in or inout: until it has read a client's end, no other
// client is served. Only a channel that was never read forgets an end that a write has reported. A channel that
// is only written should have the direction out: it drops what its clients send.
//
// # Concurrency
//
// All methods may be called from any goroutine, and none but Close blocks. Callbacks are called exactly once
// each, one at a time for each stream, in the order in which their results came about, from goroutines of this
// package. They may block for a moment, on a queue of their receiver, and may call any method but Close.
// [Stream.Close] waits for them: a goroutine that receives the posts of callbacks must not call it.
//
// # Durability
//
// A channel has a few bytes of state, opaque to its owner: the place up to which a file was read, and whether a
// client was connected. New state comes as [Unit.State], with a unit or an error, and through [Options.Commit];
// it is stored in the order in which it came. After the death of the process, [Open] with the stored state goes
// on in the file behind the last stored unit, or fails the first read with [ErrConnectionLost], since the
// client of that time is gone.
package ioservice

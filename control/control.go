// Package control is the admin protocol of a kernel, both ends: newline-delimited JSON-RPC 2.0 over a Unix
// socket in the kernel's state directory.
//
// A program that steers a kernel uses [Dial] and the methods of [Client]. A program that hosts one implements
// [Backend] and serves it with [Listen] and [NewServer]. docs/control.md describes the protocol byte by byte,
// for programs in other languages.
//
// # Values
//
// Arguments and answers are ordinary JSON; a capability is {"$ref":"ko4"}, and the other values that JSON has
// no form for follow the same scheme (package capdata, FromJSON and ToJSON).
//
// # Calls that happen once
//
// Every [Client.Send] has a [Ticket]. The caller chooses its id and may send the same call under the same
// ticket as often as it likes, over any number of connections and kernel crashes: it has one effect and one
// answer. The answer is kept until [Client.Acknowledge], or for a time that the kernel sets.
//
// # Who may call
//
// A client of the socket has every power over the kernel. It lies in a directory of mode 0700, has mode 0600,
// and the server looks at the credentials of each peer: only the user who runs the kernel, and root, are
// answered.
//
// # Concurrency
//
// [Client] may be used by many goroutines. The server answers requests in the order they finish, not in the
// order they came.
package control

import "ocapkernel.dev/internal/limits"

// SocketName is the name of the socket within the state directory.
const SocketName = "kernel.sock"

// ProtocolVersion is the version of the protocol that this package speaks. It changes only when an old
// client could misunderstand a new server; new methods and new fields do not change it.
const ProtocolVersion = 1

// The bounds of the protocol. A server enforces them; [ServerOptions] can only make them tighter.
const (
	// MaxLineBytes is the length of the longest request.
	MaxLineBytes = limits.RequestBytes
	// MaxConns is the number of connections that are served at a time. One more is told so and closed.
	MaxConns = limits.Clients
	// MaxInFlight is the number of requests of one connection that are worked on at a time. The server
	// reads no further request from it before one of them is answered.
	MaxInFlight = limits.Requests
	// MaxArgs is the number of arguments of one call.
	MaxArgs = limits.Arguments
	// MaxMethodBytes is the length of the longest method name.
	MaxMethodBytes = limits.MethodBytes
	// MaxWait is the longest time that one request waits for an answer.
	MaxWait = limits.Wait
)

// maxAnswerBytes bounds a line that a client accepts. The kernel bounds a value's body; as JSON, a
// value full of references is several times longer.
const maxAnswerBytes = 64 << 20

// writeTimeout bounds one write to a peer that does not read. Past it the connection is closed; answers
// are not lost by that, since tickets can be asked for again.
const writeTimeout = limits.Take

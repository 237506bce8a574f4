// Testplugin is a worker program of the end-to-end tests that go-plugin serves over gRPC: the vats of the examples, and some
// that misbehave.
package main

import (
	"fmt"
	"log/slog"
	"maps"
	"os"

	"ocapkernel.dev/e2e/testvats"
	"ocapkernel.dev/examples"
	"ocapkernel.dev/vat"
	"ocapkernel.dev/vat/grpcvat"
	"ocapkernel.dev/worker"
)

func main() {
	modules := vat.Modules{"test.counter": testvats.NewCounter}
	maps.Copy(modules, examples.Modules())
	p, err := vat.Program(modules)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	s := &stream{}
	worker.MainOver(s.transport, testvats.WithHostile(p, s))
}

// stream is what the worker says its frames on.
type stream struct{ frames worker.Frames }

func (s *stream) transport(handshake *os.File, log *slog.Logger) (_ worker.Frames, err error) {
	s.frames, err = grpcvat.Transport(handshake, log)
	return s.frames, err
}

// Say sends as one frame all that follows the length.
func (s *stream) Say(bytes []byte) { _ = s.frames.Write(bytes) }
func (s *stream) Shut()            { s.frames.Close() }

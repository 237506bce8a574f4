// Testplugin is the worker program of the end-to-end tests over gRPC, which go-plugin serves: it stands for testworker and for
// vatworker.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"ocapkernel.dev/e2e/testvats"
	"ocapkernel.dev/examples"
	"ocapkernel.dev/vat/grpcvat"
	"ocapkernel.dev/worker"
)

func main() {
	s := &stream{}
	p, err := testvats.Program(s, examples.Modules())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	worker.MainOver(s.transport, p)
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

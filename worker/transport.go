package worker

import (
	"bufio"
	"fmt"
	"log/slog"
	"os"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/wire"
)

// Frames is the stream of frames between a worker and its kernel. One goroutine at a time uses it.
type Frames interface {
	// Read waits for the next frame and returns it without its header, in buf if that is large enough. At the end of the
	// stream the error is io.EOF.
	Read(buf []byte) ([]byte, error)
	// Write sends a frame, with its header, as [wire.AppendUp] makes it. The frame is the caller's again afterwards.
	Write(frame []byte) error
	// Close ends the stream. It is called by a process that exits next, and returns when the written frames have left the
	// process, or after a second.
	Close()
}

// A Transport shakes hands with the kernel, in go-plugin's way, and returns the stream of frames. By the address in its
// handshake a worker chooses how its frames travel; docs/protocol.md names the two ways.
//
// A Transport writes the handshake to the file of that name, which was standard output, and closes it. By then descriptor 1 is
// the log.
type Transport func(handshake *os.File, log *slog.Logger) (Frames, error)

// Descriptor is the [Transport] on which frames travel over [wire.DataFD].
func Descriptor(handshake *os.File, _ *slog.Logger) (Frames, error) {
	_, err := fmt.Fprintf(handshake, "1|%d|unix|%s|grpc|\n", wire.Version, wire.DescriptorAddress)
	if err := handshake.Close(); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	f := os.NewFile(wire.DataFD, "data")
	return &descriptor{file: f, in: bufio.NewReaderSize(f, 16<<10)}, nil
}

// descriptor is the stream of frames on DataFD. Reads and writes block a thread: the file is not in the
// runtime's poller, which nearly halves a round trip. The goroutine is not locked to that thread: it would
// gain a microsecond, but a vat that runs its turns on other goroutines would lose tens of them at each
// switch (0.6 against 58 µs, measured on a loaded machine).
type descriptor struct {
	file *os.File
	in   *bufio.Reader
}

func (d *descriptor) Read(buf []byte) ([]byte, error) {
	return wire.ReadFrame(d.in, buf, wire.MaxDownFrameBytes)
}

func (d *descriptor) Write(frame []byte) error {
	fault.Torn(fault.InWorkerFrameTorn, frame, d.file.Write)
	_, err := d.file.Write(frame)
	return err
}

// Close leaves the descriptor open: the written frames are in the socket, and its end would look like a crash.
func (d *descriptor) Close() {}

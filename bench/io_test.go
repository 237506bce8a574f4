package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev"
	"ocapkernel.dev/control"
	"ocapkernel.dev/vat"
)

// Echo is a vat that writes the units of a channel back. It waits by durable watchers, as servers do.
type Echo struct {
	vat.Durable
	Console vat.Ref
}

// EchoParameters are those of its configuration.
type EchoParameters struct {
	// Window is how many reads are asked for at a time.
	Window int
}

// Bootstrap takes the channel and asks for the first units.
func (e *Echo) Bootstrap(ctx context.Context, _ map[string]vat.Ref, services struct{ Console vat.Ref }) error {
	p, err := vat.Parameters[EchoParameters](ctx)
	if err != nil {
		return err
	}
	e.Console = services.Console
	for range p.Window {
		e.read(ctx)
	}
	return nil
}

func (e *Echo) read(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, e.Console, "read"), e, "Got")
}

// Got writes a unit back.
func (e *Echo) Got(ctx context.Context, unit vat.Outcome[*string]) {
	if text, err := unit.Get(); err == nil && text != nil {
		vat.When(ctx, vat.Send(ctx, e.Console, "write", *text), e, "Wrote")
	}
}

// Wrote asks for the next unit when one was taken: a vat that reads on regardless writes more than may wait.
func (e *Echo) Wrote(ctx context.Context, _ vat.Outcome[vat.None]) { e.read(ctx) }

var ioModules = vat.Modules{"echo": func() *Echo { return &Echo{} }}

// startEcho runs a kernel with an echo on a Unix socket, and connects to it.
func startEcho(b *testing.B, durability, unit string, window int) net.Conn {
	dir, err := os.MkdirTemp("", "b") // short: it is in the path of a socket
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	k, err := ocapkernel.New(ocapkernel.Options{Dir: dir, Durability: ocapkernel.Durability(durability), Control: true})
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
	})
	if _, err := k.Ensure(ctx, ocapkernel.LaunchRequest{Path: "/bench/echo.json", Config: fmt.Appendf(nil,
		`{"bootstrap":"echo","vats":{"echo":{"module":"echo","parameters":{"window":%d}}},"io":{"console":{"type":"socket","unit":%q}}}`, window, unit)}); err != nil {
		b.Fatal(err)
	}
	client, err := control.Dial(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	channels, err := client.IO(ctx)
	if err != nil || len(channels) != 1 {
		b.Fatalf("%v, %v", channels, err)
	}
	return dial(b, channels[0].Where)
}

func dial(b *testing.B, path string) net.Conn {
	conn, err := net.Dial("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = conn.Close() })
	return conn
}

// startFloor runs the bare echo, in another process, and connects to it.
func startFloor(b *testing.B) net.Conn {
	dir, err := os.MkdirTemp("", "b")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	listener, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		b.Fatal(err)
	}
	file, err := listener.(*net.UnixListener).File()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=unix")
	cmd.ExtraFiles = []*os.File{file}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	_ = file.Close()
	conn := dial(b, filepath.Join(dir, "s"))
	b.Cleanup(func() {
		_ = conn.Close()
		_ = cmd.Wait()
		_ = listener.Close()
	})
	return conn
}

// unixChild accepts one connection on descriptor 3 and sends back the bytes that come.
func unixChild() {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return
	}
	conn, err := listener.Accept()
	if err != nil {
		return
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

// through sends data and returns when as much has come back, and how long that took.
func through(b *testing.B, conn net.Conn, data []byte) time.Duration {
	start := time.Now()
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(data)
		sent <- err
	}()
	back := make([]byte, len(data))
	if _, err := io.ReadFull(conn, back); err != nil {
		b.Fatal(err)
	}
	if err := <-sent; err != nil {
		b.Fatal(err)
	}
	if !bytes.Equal(back, data) {
		b.Fatal("what came back is not what was sent")
	}
	return time.Since(start)
}

// numbered are lines of which no two are the same.
func numbered(n, size int) []byte {
	var text bytes.Buffer
	for i := range n {
		head := fmt.Sprintf("line %d ", i)
		text.WriteString(head + strings.Repeat("x", size-len(head)-1) + "\n")
	}
	return text.Bytes()
}

// BenchmarkIOThroughput sends as fast as it goes through read and write of a vat, and through a bare echo.
func BenchmarkIOThroughput(b *testing.B) {
	for _, c := range []struct {
		name, unit  string
		lines, size int
	}{
		{"lines=100B", "line", 1000, 100},
		{"lines=32KiB", "line", 128, 32 << 10},
		{"bytes", "bytes", 128, 32 << 10},
	} {
		for _, durability := range []string{"process", "power"} {
			for _, window := range []int{1, 8} {
				b.Run(fmt.Sprintf("%s/%s/reads=%d", c.name, durability, window), func(b *testing.B) {
					data := numbered(c.lines, c.size)
					conn, floor := startEcho(b, durability, c.unit, window), startFloor(b)
					through(b, conn, data[:c.size])
					var took, least time.Duration
					n := 0
					for b.Loop() {
						took += through(b, conn, data)
						least += through(b, floor, data)
						n++
					}
					if c.unit == "line" {
						b.ReportMetric(float64(n*c.lines)/took.Seconds(), "lines/s")
					}
					b.ReportMetric(float64(n*len(data))/1e6/took.Seconds(), "MB/s")
					b.ReportMetric(float64(n*len(data))/1e6/least.Seconds(), "floor-MB/s")
					b.ReportMetric(took.Seconds()/least.Seconds(), "x-floor")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}

// BenchmarkIOLatency sends one line and waits until it has come back: it was read, which is one commit; the vat
// was notified and wrote it, which is another; and the write was released when that was durable.
func BenchmarkIOLatency(b *testing.B) {
	round := func(b *testing.B, conn net.Conn, in *bufio.Reader) time.Duration {
		start := time.Now()
		if _, err := conn.Write([]byte("a line of some length, as a person would type it\n")); err != nil {
			b.Fatal(err)
		}
		if _, err := in.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	for _, durability := range []string{"process", "power"} {
		b.Run(durability, func(b *testing.B) {
			conn, floor := startEcho(b, durability, "line", 1), startFloor(b)
			in, floorIn := bufio.NewReader(conn), bufio.NewReader(floor)
			var lat []time.Duration
			var least time.Duration
			for b.Loop() {
				lat = append(lat, round(b, conn, in))
				least += round(b, floor, floorIn)
			}
			reportLatency(b, lat)
			b.ReportMetric(float64(least.Microseconds())/float64(len(lat)), "floor-µs")
			b.ReportMetric(sum(lat).Seconds()/least.Seconds(), "x-floor")
		})
	}
}

package bench

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"ocapkernel.dev/storage"
	"ocapkernel.dev/storage/badgerstore"
)

const childEnv = "OCAPKERNEL_BENCH_CHILD"

// runChild makes the test binary the other process of a floor, if it was started as one.
func runChild() bool {
	switch os.Getenv(childEnv) {
	case "echo":
		echoChild()
	case "plugin":
		pluginChild()
	case "unix":
		unixChild()
	default:
		return false
	}
	return true
}

// echoChild sends back the bytes that come on descriptor 3, by blocking reads.
func echoChild() {
	buf := make([]byte, 4096)
	for {
		n, err := syscall.Read(3, buf)
		if n <= 0 || err != nil {
			return
		}
		if _, err := syscall.Write(3, buf[:n]); err != nil {
			return
		}
	}
}

// echo returns a function that sends 100 bytes to another process and back over a socketpair, and one that ends the process.
func echo(b *testing.B) (once func() time.Duration, end func()) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=echo")
	cmd.ExtraFiles = []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		b.Fatal(err)
	}
	ours.Close()
	buf := make([]byte, 100)
	once = func() time.Duration {
		start := time.Now()
		if _, err := conn.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, buf); err != nil {
			b.Fatal(err)
		}
		return time.Since(start)
	}
	return once, func() {
		conn.Close()
		_ = cmd.Wait()
	}
}

// floorSocketpair returns the times of n echoes.
func floorSocketpair(b *testing.B, n int) []time.Duration {
	once, end := echo(b)
	defer end()
	lat := make([]time.Duration, n)
	for i := range lat {
		lat[i] = once()
	}
	return lat
}

// BenchmarkFloorSocketpair is 100 bytes to another process and back over a socketpair: the least cost of a
// delivery and its answer.
func BenchmarkFloorSocketpair(b *testing.B) {
	once, end := echo(b)
	defer end()
	var lat []time.Duration
	for b.Loop() {
		lat = append(lat, once())
	}
	reportLatency(b, lat)
}

// BenchmarkFloorBadgerSync is a synced transaction of ten small rows: the least cost of a durable answer.
func BenchmarkFloorBadgerSync(b *testing.B) {
	s := openBadger(b, badgerstore.Power)
	defer s.Close()
	var lat []time.Duration
	for n := uint64(0); b.Loop(); n++ {
		writes := make([]storage.Write, 10)
		for i := range writes {
			writes[i] = storage.Write{Key: string(binary.BigEndian.AppendUint64([]byte("key-of-24-bytes-"), n*10+uint64(i))), Value: make([]byte, 100)}
		}
		start := time.Now()
		if err := s.Commit(writes); err != nil {
			b.Fatal(err)
		}
		lat = append(lat, time.Since(start))
	}
	reportLatency(b, lat)
}

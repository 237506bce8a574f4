package backend

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/descriptors"
	"ocapkernel.dev/service"
)

// An object that holds a descriptor for as long as it lives is not opened while the process keeps its last ones.
func TestObjectsAreNotOpenedWithTheLastDescriptors(t *testing.T) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	// The budget is that of a process which may open a few more files; this one may open as many as before.
	small := limit
	small.Cur = uint64(len(open) + 20)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &small); err != nil {
		t.Fatal(err)
	}
	b := &Backend{budget: descriptors.New(), opts: Options{Dir: t.TempDir(), Logger: slog.New(slog.DiscardHandler)}}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		f, err := os.Open("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	channel, err := cluster.MarshalStoredChannel(cluster.Channel{Name: "log", Type: cluster.ChannelFile, Path: "/log", Direction: "out", Unit: "line"})
	if err != nil {
		t.Fatal(err)
	}
	fs, err := cluster.MarshalStoredService(cluster.Service{Name: cluster.ServiceFS, Service: cluster.ServiceFS, Root: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for kind, config := range map[string][]byte{host.KindIO: channel, cluster.ServiceFS: fs} {
		if _, err := b.kinds()[kind].Open(service.Opening{Name: "it", Config: config}); err == nil || !strings.Contains(err.Error(), "last file descriptors") {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

package service_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ocapkernel.dev/internal/scripttest"
	"ocapkernel.dev/service"
)

// tree lists the entries below a directory, with the content of files.
func tree(t *testing.T, root string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		line := strings.TrimPrefix(path, root+"/")
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += "=" + string(b)
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAWriteThatFailsLeavesNothingOfItself(t *testing.T) {
	if !scripttest.Alone(t) {
		return
	}
	for _, s := range []step{
		{"appendFile", `["a", "0123456789"]`, ""},
		{"appendFile", `["new", "0123456789"]`, ""},
		{"writeFile", `["a", "0123456789"]`, ""},
		{"writeFile", `["new", "0123456789"]`, ""},
		{"writeBytes", `["d/new", "MDEyMzQ1Njc4OQ=="]`, ""},
		{"mkdir", `["x/y/` + strings.Repeat("z", 300) + `"]`, ""},
		{"mkdir", `["d/e/f/` + strings.Repeat("z", 300) + `/g"]`, ""},
		{"mkdir", `["a/b"]`, ""},
		{"rename", `["a", "nowhere/a"]`, ""},
	} {
		t.Run(s.method+s.args[:7], func(t *testing.T) {
			o, root := openFiles(t, false)
			put(t, filepath.Join(root, "a"), "old")
			if err := os.Mkdir(filepath.Join(root, "d"), 0o755); err != nil {
				t.Fatal(err)
			}
			before := tree(t, root)
			again := scripttest.SmallFiles(t, 5)
			if got := show(t, call(t, o, s.method, s.args)); !strings.Contains(got, s.method) {
				t.Errorf("%s(%.60s) gave %.200s, want an error", s.method, s.args, got)
			}
			again()
			if after := tree(t, root); !slices.Equal(before, after) {
				t.Errorf("%s(%.60s) left %q, before it there was %q", s.method, s.args, after, before)
			}
		})
	}
}

// Wherever the process runs out of descriptors, a call has been done, or changes nothing and returns the
// reason.
func TestACallThatLacksDescriptorsIsDoneOrNotDone(t *testing.T) {
	if !scripttest.Alone(t) {
		return
	}
	for _, s := range []step{
		{"appendFile", `["a", " more"]`, ""},
		{"appendFile", `["new", "text"]`, ""},
		{"appendFile", `["d/new", "text"]`, ""},
		{"writeFile", `["a", "text"]`, ""},
		{"writeFile", `["d/new", "text"]`, ""},
		{"writeBytes", `["new", "MDEy"]`, ""},
		{"mkdir", `["x"]`, ""},
		{"mkdir", `["d/x/y"]`, ""},
		{"rename", `["a", "b"]`, ""},
		{"rename", `["a", "d/a"]`, ""},
		{"rename", `["d", "e"]`, ""},
		{"remove", `["a"]`, ""},
		{"remove", `["d/old"]`, ""},
	} {
		t.Run(s.method+s.args, func(t *testing.T) {
			refused := 0
			for spare := range 10 {
				o, root := openFiles(t, false)
				put(t, filepath.Join(root, "a"), "old")
				if err := os.Mkdir(filepath.Join(root, "d"), 0o755); err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(root, "d", "old"), "old")
				before := tree(t, root)
				var got string
				withFewDescriptors(t, spare, func() { got = show(t, call(t, o, s.method, s.args)) })
				after := tree(t, root)
				if strings.HasPrefix(got, "rejected") {
					refused++
					if !slices.Equal(before, after) {
						t.Errorf("with %d descriptors to spare it gave %.200s and left %q, before it there was %q", spare, got, after, before)
					}
				} else if slices.Equal(before, after) {
					t.Errorf("with %d descriptors to spare it gave %.200s and changed nothing", spare, got)
				}
			}
			if refused == 0 || refused == 10 {
				t.Errorf("%d of 10 calls were refused", refused)
			}
		})
	}
}

// withFewDescriptors runs f while this process can open few files more.
func withFewDescriptors(t *testing.T, spare int, f func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	next, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	most := uint64(next.Fd()) + uint64(spare)
	_ = next.Close() // it was only a question
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}()
	f()
}

func TestANameThatIsNotUTF8IsRefusedAndNotAltered(t *testing.T) {
	o, root := openFiles(t, false)
	put(t, filepath.Join(root, "good"), "")
	steps(t, o, []step{{"list", `["."]`, `[{"dir":false,"name":"good"`}})
	put(t, filepath.Join(root, "bad\xff\xfe"), "")
	got := show(t, call(t, o, "list", `["."]`))
	if !strings.Contains(got, `bad\xff\xfe`) {
		t.Errorf("list gives %s, want an error that names the bad one", got)
	}
	steps(t, o, []step{{"readFile", `["good"]`, `""`}})
}

func TestAHeaderThatIsNotUTF8IsCarriedByteForByte(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["X-Name"] = []string{"caf\xe9"}
		w.Header()["X-Other"] = []string{"café"}
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // until it is closed
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
	o, err := service.NewFetch(service.FetchOptions{Hosts: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.Close() })
	got := show(t, call(t, o, "get", `["http://`+l.Addr().String()+`/"]`))
	for _, want := range []string{`"x-name":"café"`, `"x-other":"café"`} {
		if !strings.Contains(got, want) {
			t.Errorf("the answer is %s, want %s in it", got, want)
		}
	}
}

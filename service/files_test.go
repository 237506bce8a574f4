package service_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/service"
)

// openFiles opens dir/root as a service; the files beside it, in dir, must not be reached.
func openFiles(t *testing.T, readOnly bool) (o *service.Files, root string) {
	t.Helper()
	dir := t.TempDir()
	root = filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "secret"), "secret")
	o, err := service.OpenFiles(root, service.FilesOptions{ReadOnly: readOnly})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o, root
}

func put(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// A step is a call, and the beginning of its result.
type step struct{ method, args, want string }

func steps(t *testing.T, o service.Object, steps []step) {
	t.Helper()
	for _, s := range steps {
		if got := show(t, call(t, o, s.method, s.args)); !strings.HasPrefix(got, s.want) {
			t.Errorf("%s(%.100s): got %.300s, want %s", s.method, s.args, got, s.want)
		}
	}
}

const undefined = `{"$undefined":true}`

func TestFiles(t *testing.T) {
	o, root := openFiles(t, false)
	steps(t, o, []step{
		{"list", `["."]`, `[]`},
		{"stat", `["a"]`, `null`},
		{"stat", `["a/b"]`, `null`},
		{"writeFile", `["a", "one ✓"]`, undefined},
		{"readFile", `["a"]`, `"one ✓"`},
		{"appendFile", `["a", ", two"]`, undefined},
		{"appendFile", `["c", "new"]`, undefined},
		{"readFile", `["a"]`, `"one ✓, two"`},
		{"stat", `["a/b"]`, `null`},
		{"readBytes", `["a"]`, `"` + base64.StdEncoding.EncodeToString([]byte("one ✓, two")) + `"`},
		{"readBytes", `["c", 1]`, `"ZXc="`},
		{"readBytes", `["c", 1, 1]`, `"ZQ=="`},
		{"readBytes", `["c", 5]`, `""`},
		{"mkdir", `["d/e"]`, undefined},
		{"mkdir", `["d/e"]`, undefined},
		{"writeBytes", `["d/e/f", "/w=="]`, undefined},
		{"rename", `["a", "d/a"]`, undefined},
		{"stat", `["a"]`, `null`},
		{"list", `["."]`, `[{"dir":false,"name":"c","size":3},{"dir":true,"name":"d","size":0}]`},
		{"list", `["d"]`, `[{"dir":false,"name":"a","size":12},{"dir":true,"name":"e","size":0}]`},
		{"remove", `["d"]`, `rejected Error: remove "d": directory not empty`},
		{"remove", `["d/e/f"]`, undefined},
		{"remove", `["d/e"]`, undefined},
		{"list", `["d"]`, `[{"dir":false,"name":"a","size":12}]`},
	})
	st := value[struct {
		Size     int
		Dir      bool
		Modified string
	}](t, call(t, o, "stat", `["d/a"]`))
	if info, err := os.Stat(filepath.Join(root, "d/a")); err != nil || st.Size != 12 || st.Dir || !strings.HasPrefix(st.Modified, info.ModTime().UTC().Format("2006-01-02T15:04:05")) {
		t.Errorf("stat gives %+v, error %v", st, err)
	}
	left, err := filepath.Glob(filepath.Join(root, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, error %v", left, err)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	o, root := openFiles(t, false)
	put(t, filepath.Join(root, "binary"), "ab\xffc")
	put(t, filepath.Join(root, "large"), strings.Repeat("x", 1_000_001))
	put(t, filepath.Join(root, "text"), strings.Repeat("x", 1_000_000))
	put(t, filepath.Join(root, "escapes"), strings.Repeat("\x01", 500_000))
	if err := syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := call(t, o, "readFile", `["text"]`); r.Rejected {
		t.Errorf("a text of 1,000,000 bytes: %s", show(t, r))
	}
	if got := value[[]byte](t, call(t, o, "readBytes", `["text", 0, 750000]`)); len(got) != 750_000 {
		t.Errorf("readBytes gives %d bytes of 750,000", len(got))
	}
	if got := value[[]byte](t, call(t, o, "readBytes", `["text", 250000]`)); len(got) != 750_000 {
		t.Errorf("readBytes gives %d bytes of 750,000", len(got))
	}
	steps(t, o, []step{
		{"readFile", `["none"]`, `rejected Error: readFile "none": no such file or directory`},
		{"readFile", `["binary"]`, `rejected Error: readFile "binary": byte 2 is not UTF-8; read it with readBytes`},
		{"readFile", `["large"]`, `rejected Error: [KERNEL:LIMIT] readFile "large": more than 1000000 bytes; read it in pieces`},
		{"readBytes", `["text"]`, `rejected Error: [KERNEL:LIMIT] readBytes "text": more than 750000 bytes`},
		{"readBytes", `["text", 0, 750001]`, `rejected Error: readBytes "text": length 750001: want 0 to 750000`},
		{"readBytes", `["text", -1]`, `rejected Error: readBytes "text": offset -1 is negative`},
		{"readBytes", `["text", 1, 2, 3]`, `rejected TypeError: fs.readBytes: got 4 arguments`},
		{"readFile", `["escapes"]`, `rejected Error: [KERNEL:LIMIT] fs.readFile: the result cannot be passed`},
		{"readFile", `["."]`, `rejected Error: readFile ".": it is a directory, and no regular file`},
		{"readFile", `["pipe"]`, `rejected Error: readFile "pipe": it is a named pipe`},
		{"appendFile", `["pipe", "x"]`, `rejected Error: appendFile "pipe": it is a named pipe`},
		{"writeFile", `["pipe", "x"]`, `rejected Error: writeFile "pipe": it is a named pipe`},
		{"list", `["pipe"]`, `rejected Error: list "pipe": not a directory`},
		{"list", `["none"]`, `rejected Error: list "none": no such file or directory`},
		{"writeFile", `[".", "x"]`, `rejected Error: writeFile ".": the directory itself stays as it is`},
		{"remove", `["."]`, `rejected Error: remove ".": the directory itself`},
		{"rename", `["text", "."]`, `rejected Error: rename ".": the directory itself`},
		{"rename", `["none", "x"]`, `rejected Error: rename "none": to "x": no such file or directory`},
		{"writeFile", `["none/x", "x"]`, `rejected Error: writeFile "none/x": no such file or directory`},
		{"writeFile", fmt.Sprintf(`["x", %q]`, strings.Repeat("x", 1<<20+1)), `rejected Error: [KERNEL:LIMIT] writeFile "x": 1048577 bytes, above the limit of 1048576`},
		{"readFile", fmt.Sprintf(`[%q]`, strings.Repeat("x", 1001)), `rejected Error: readFile: a path of 1001 bytes`},
	})
	for i := range 1001 {
		put(t, filepath.Join(root, fmt.Sprint("many", i)), "")
	}
	steps(t, o, []step{{"list", `["."]`, `rejected Error: [KERNEL:LIMIT] list ".": more than 1000 entries`}})
}

// For any path, and any links: nothing outside of the root is read or written.
func TestFilesStayBelowTheRoot(t *testing.T) {
	o, root := openFiles(t, false)
	put(t, filepath.Join(root, "inside"), "inside")
	for name, to := range map[string]string{
		"up": "..", "out": "../secret", "absolute": filepath.Join(filepath.Dir(root), "secret"), "in": "inside", "loop": "loop", "new": "../new",
	} {
		if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	var all []step
	for _, name := range []string{"../secret", "/etc/passwd", "a/../../secret", "./inside", "inside/", "", "a//b", ".."} {
		for _, method := range []string{"readFile", "readBytes", "list", "stat", "mkdir", "remove"} {
			all = append(all, step{method, fmt.Sprintf(`[%q]`, name), fmt.Sprintf("rejected Error: %s %q: want a path", method, name)})
		}
	}
	for _, name := range []string{"out", "absolute", "up/secret", "loop"} {
		for _, method := range []string{"readFile", "readBytes", "list"} {
			all = append(all, step{method, fmt.Sprintf(`[%q]`, name), "rejected Error: " + method})
		}
		all = append(all, step{"writeFile", fmt.Sprintf(`[%q, "x"]`, name), "rejected Error: writeFile"})
		all = append(all, step{"appendFile", fmt.Sprintf(`[%q, "x"]`, name), "rejected Error: appendFile"})
	}
	all = append(all,
		step{"readFile", `["a\u0000b"]`, `rejected Error: readFile "a\x00b": want a path`},
		step{"appendFile", `["new", "x"]`, "rejected Error: appendFile"},
		step{"rename", `["up/secret", "got"]`, "rejected Error: rename"},
		step{"rename", `["inside", "up/put"]`, "rejected Error: rename"},
		step{"rename", `["inside", "../put"]`, "rejected Error: rename"},
		step{"mkdir", `["up/dir"]`, "rejected Error: mkdir"},
		step{"stat", `["out"]`, `{"dir":false,`},
		step{"readFile", `["in"]`, `"inside"`},
		step{"writeFile", `["in", "x"]`, `rejected Error: writeFile "in": it is a symbolic link`},
	)
	steps(t, o, all)
	entries, err := os.ReadDir(filepath.Dir(root))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"root", "secret"}, names); diff != "" {
		t.Errorf("beside the root (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(filepath.Join(filepath.Dir(root), "secret")); err != nil || string(text) != "secret" {
		t.Errorf("the secret is %q, error %v", text, err)
	}
}

func TestReadOnlyFiles(t *testing.T) {
	o, root := openFiles(t, true)
	put(t, filepath.Join(root, "a"), "text")
	steps(t, o, []step{
		{"readFile", `["a"]`, `"text"`},
		{"list", `["."]`, `[{"dir":false,"name":"a","size":4}]`},
		{"writeFile", `["a", "x"]`, `rejected Error: writeFile "a": the directory is read-only`},
		{"writeBytes", `["a", ""]`, `rejected Error: writeBytes "a": the directory is read-only`},
		{"appendFile", `["a", "x"]`, `rejected Error: appendFile "a": the directory is read-only`},
		{"appendFile", `["b", "x"]`, `rejected Error: appendFile "b": the directory is read-only`},
		{"mkdir", `["b"]`, `rejected Error: mkdir "b": the directory is read-only`},
		{"remove", `["a"]`, `rejected Error: remove "a": the directory is read-only`},
		{"rename", `["a", "b"]`, `rejected Error: rename "a": the directory is read-only`},
		{"readFile", `["a"]`, `"text"`},
		{"stat", `["b"]`, `null`},
	})
}

// A written file keeps the permissions of the old one, and calls that are sent one after the other are done so.
func TestWriteFileReplaces(t *testing.T) {
	o, root := openFiles(t, false)
	name := filepath.Join(root, "a")
	put(t, name, "old")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	old, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	write := begin(t.Context(), o, service.Call{MethArgs: message(t, "writeFile", `["a", "new"]`)})
	read := begin(t.Context(), o, service.Call{MethArgs: message(t, "readFile", `["a"]`)})
	if got := show(t, wait(t, write)); got != undefined {
		t.Fatal(got)
	}
	if got := show(t, wait(t, read)); got != `"new"` {
		t.Errorf("read after write gives %s", got)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the file has mode %v, error %v; want 0640", info.Mode(), err)
	}
	// A reader that had the old file open still reads it whole.
	var b bytes.Buffer
	if _, err := b.ReadFrom(old); err != nil || b.String() != "old" {
		t.Errorf("the old file has %q, error %v", b.String(), err)
	}
}

// A call that takes descriptors is refused while the process can spare none, with a hint, and has done nothing.
func TestCallsThatTheProcessCannotSpareDescriptorsFor(t *testing.T) {
	var spare atomic.Bool
	dir := t.TempDir()
	files, err := service.OpenFiles(dir, service.FilesOptions{Allow: spare.Load})
	if err != nil {
		t.Fatal(err)
	}
	server := site(t)
	fetch := newFetch(t, service.FetchOptions{Hosts: []string{server.Listener.Addr().String()}, Allow: spare.Load})
	get := fmt.Sprintf(`[%q]`, server.URL+"/missing")
	const refused = ": the kernel keeps its last file descriptors for itself: try again when connections have ended"
	steps(t, files, []step{
		{"writeFile", `["a", "b"]`, "rejected Error: [KERNEL:LIMIT] fs.writeFile" + refused},
		{"list", `["."]`, "rejected Error: [KERNEL:LIMIT] fs.list" + refused},
		{"nothing", `[]`, "rejected TypeError: fs has no method"},
	})
	steps(t, fetch, []step{{"get", get, "rejected Error: [KERNEL:LIMIT] fetch.get" + refused}})
	spare.Store(true)
	steps(t, files, []step{{"list", `["."]`, `[]`}})
	steps(t, fetch, []step{{"get", get, `{"body":`}})
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestOpenFilesWantsADirectory(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "file"), "")
	for _, name := range []string{"none", "file"} {
		if _, err := service.OpenFiles(filepath.Join(dir, name), service.FilesOptions{}); err == nil || !strings.Contains(err.Error(), "it must exist and be a directory") {
			t.Errorf("%s: got error %v", name, err)
		}
	}
}

func TestFilesThatAreDoneAgain(t *testing.T) {
	o, _ := openFiles(t, false)
	for method, want := range map[string]bool{"readFile": true, "readBytes": true, "list": true, "stat": true, "writeFile": false, "appendFile": false, "remove": false, "rename": false, "mkdir": false} {
		if got := o.Idempotent(method); got != want {
			t.Errorf("%s: idempotent %v, want %v", method, got, want)
		}
	}
}

func TestADirectoryBecomesReadOnlyAndWritableAgain(t *testing.T) {
	o, root := openFiles(t, false)
	put(t, filepath.Join(root, "a"), "text")
	write := step{"writeFile", `["b", "x"]`, undefined}
	steps(t, o, []step{write})
	o.SetReadOnly(true)
	steps(t, o, []step{{"readFile", `["a"]`, `"text"`}})
	if got := show(t, call(t, o, write.method, write.args)); !strings.Contains(got, "read-only") {
		t.Errorf("a write into what is read-only: %s", got)
	}
	o.SetReadOnly(false)
	steps(t, o, []step{write})
}

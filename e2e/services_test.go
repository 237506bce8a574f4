package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/control"
)

// TestVatUsesEachBuiltinService has a vat call each service of docs/services.md.
func TestVatUsesEachBuiltinService(t *testing.T) {
	t.Parallel()
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // of a request that just came
		w.Header().Set("X-Method", r.Method)
		fmt.Fprintf(w, "%s got %q", r.URL.Path, body)
	}))
	defer web.Close()
	host := strings.TrimPrefix(web.URL, "http://")
	s := newSite(t)
	s.run(t)
	if err := os.Mkdir(filepath.Join(s.dir, "files"), 0o700); err != nil {
		t.Fatal(err)
	}
	var l control.Launched
	s.read(t, &l, "launch", s.file(t, "agent.json", fmt.Sprintf(`{"bootstrap": "agent",
		"vats": {"agent": {"module": "test.agent", "worker": "bin/testworker"}},
		"services": ["timer", "random", "console",
			{"name": "files", "service": "fs", "root": "files"},
			{"name": "look", "service": "fs", "root": "files", "readOnly": true},
			{"name": "web", "service": "fetch", "hosts": [%q]}]}`, host)))

	for _, c := range []struct {
		service, method, args string
		want                  string // a pattern of the answer, or of the reason of the rejection after "!"
	}{
		{"random", "bytes", `[6]`, `^"[A-Za-z0-9+/]{8}"$`},
		{"random", "hex", `[4]`, `^"[0-9a-f]{8}"$`},
		{"random", "integer", `[6]`, `^[0-5]$`},
		{"random", "integer", `[0]`, `!the limit is 0, want 1 to 2\^53`},
		{"console", "warn", `["the moon", {"is": "full"}]`, `^undefined$`},
		{"files", "writeFile", `["notes", "a line\n"]`, `^undefined$`},
		{"files", "appendFile", `["notes", "another\n"]`, `^undefined$`},
		{"files", "readFile", `["notes"]`, `^"a line\\nanother\\n"$`},
		{"files", "readBytes", `["notes", 2, 4]`, `^"bGluZQ=="$`},
		{"files", "mkdir", `["d/e"]`, `^undefined$`},
		{"files", "rename", `["notes", "d/e/notes"]`, `^undefined$`},
		{"files", "list", `["d"]`, `^\[{"dir":true,"name":"e","size":\d+}\]$`},
		{"files", "stat", `["d/e/notes"]`, `"size":15`},
		{"files", "readFile", `["../kernel.out"]`, `!want a path such as`},
		{"files", "readFile", `["none"]`, `!readFile "none": no such file or directory`},
		{"look", "readFile", `["d/e/notes"]`, `^"a line`},
		{"look", "writeFile", `["d/e/notes", ""]`, `!writeFile "d/e/notes": the directory is read-only`},
		{"files", "remove", `["d/e/notes"]`, `^undefined$`},
		{"web", "get", fmt.Sprintf("[%q]", web.URL+"/page"), `"body":"/page got \\"\\"".*"x-method":"GET".*"status":200`},
		{"web", "fetch", fmt.Sprintf(`[%q, {"method": "POST", "body": "hi"}]`, web.URL), `"body":"/ got \\"hi\\"".*"x-method":"POST"`},
		{"web", "get", `["http://127.0.0.1:1/"]`, `!host "127.0.0.1:1" is not among those that this service may speak to`},
		{"timer", "delay", `[1]`, `^1\d{12}$`},
		{"timer", "now", `[]`, `^1\d{12}$`},
		{"timer", "delay", `[-1]`, `!timer.delay: want a number of milliseconds from 0 to`},
		{"timer", "repeat", `[1, 2]`, `!timer.repeat: want a number of milliseconds from 100 to`},
	} {
		o := s.cli("send", l.ID, "do", fmt.Sprintf("%q", c.service), fmt.Sprintf("%q", c.method), c.args)
		pattern, rejected := strings.CutPrefix(c.want, "!")
		got := strings.TrimSpace(o.stdout)
		if rejected {
			got = o.stderr
		}
		if (o.exit != 0) != rejected || !regexp.MustCompile(pattern).MatchString(got) {
			t.Errorf("%s.%s%s: got %v, want %s", c.service, c.method, c.args, o, c.want)
		}
	}
	if log := s.log(t); !regexp.MustCompile(`\[WARN\].*the moon.*full`).MatchString(log) {
		t.Errorf("the console is not in the log:\n%s", tail(log, 20))
	}
	s.must(t, "terminate", l.ID)
}

// A delay ends when it was to end, and a repetition goes on, though the kernel is killed meanwhile.
func TestTimerGoesOnThroughDeathOfKernel(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	d := s.run(t)
	var l control.Launched
	s.read(t, &l, "launch", s.file(t, "agent.json", `{"bootstrap": "agent",
		"vats": {"agent": {"module": "test.agent", "worker": "bin/testworker"}}, "services": ["timer"]}`))
	s.must(t, "send", l.ID, "repeat", "100")
	number := func(args ...string) (n int64) {
		t.Helper()
		text := s.must(t, args...)
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			t.Fatalf("%q: got %s", args, text)
		}
		return n
	}
	ticks := func() int64 { t.Helper(); return number("send", l.ID, "ticked") }
	more := func() {
		t.Helper()
		before := ticks()
		eventually(t, func() error {
			if now := ticks(); now < before+2 {
				return fmt.Errorf("%d ticks, and before %d", now, before)
			}
			return nil
		})
	}
	more()
	sent := time.Now()
	const short, long = 100, 3000
	for id, ms := range map[string]int{"short": short, "long": long} {
		s.must(t, "send", "--no-wait", "--id", id, l.ID, "do", `"timer"`, `"delay"`, fmt.Sprintf("[%d]", ms))
	}
	for range 2 {
		d.kill()
		d = s.run(t)
	}
	more()
	for id, ms := range map[string]int64{"short": short, "long": long} {
		if at := number("await", id) - sent.UnixMilli(); at < ms {
			t.Errorf("%s: a delay of %d ms ended after %d", id, ms, at)
		} else {
			t.Logf("%s: a delay of %d ms ended after %d", id, ms, at)
		}
	}

	// A repetition that was cancelled is over, for the next kernel, too.
	s.must(t, "send", l.ID, "do", `"repetition"`, `"cancel"`, "[]")
	d.kill()
	s.run(t)
	before := ticks()
	number("send", l.ID, "do", `"timer"`, `"delay"`, "[200]")
	if now := ticks(); now != before {
		t.Errorf("%d ticks came after the end", now-before)
	}
	if o := s.cli("send", "--json", l.ID, "do", `"repetition"`, `"cancel"`, "[]"); !strings.Contains(o.stdout, `"code":"SERVICE_GONE"`) {
		t.Errorf("cancel again: got %v, want SERVICE_GONE", o)
	}
}

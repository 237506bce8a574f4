package service_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/service"
)

func TestConsole(t *testing.T) {
	var out bytes.Buffer
	o := service.Console(logging.NewText(&out, slog.LevelInfo))
	for _, test := range []struct{ method, args, want string }{
		{"log", `["hello"]`, `[INFO]  vat says: vat=v1 subcluster=s1 text=hello`},
		{"info", `["a", 1, {"b": [null, true]}, {"$ref":"ko9"}]`, `[INFO]  vat says: vat=v1 subcluster=s1 text="a 1 {\"b\":[null,true]} {\"$ref\":\"ko9\"}"`},
		{"warn", `["Größe"]`, `[WARN]  vat says: vat=v1 subcluster=s1 text="Größe"`},
		{"error", `[]`, `[ERROR] vat says: vat=v1 subcluster=s1 text=""`},
		{"log", `["a\u001b[31m\n[ERROR] b\u202ec"]`, `[INFO]  vat says: vat=v1 subcluster=s1 text="a\x1b[31m\n[ERROR] b\u202ec"`},
	} {
		out.Reset()
		if got := show(t, call(t, o, test.method, test.args)); got != `{"$undefined":true}` {
			t.Errorf("%s(%s): got %s", test.method, test.args, got)
		}
		if got := strings.TrimSuffix(out.String(), "\n"); got != test.want {
			t.Errorf("%s(%s): logged\n%s\nwant\n%s", test.method, test.args, got, test.want)
		}
	}
}

func TestConsoleCutsWhatIsLong(t *testing.T) {
	var out bytes.Buffer
	o := service.Console(logging.NewText(&out, slog.LevelInfo))
	for _, args := range []string{
		fmt.Sprintf(`[%q]`, strings.Repeat("x", 1<<20)),
		fmt.Sprintf(`["%s"]`, strings.Repeat(`\u0001`, 1<<16)),
		fmt.Sprintf(`[[%q]]`, strings.Repeat("ä", 1<<16)),
		`[` + strings.Repeat(`"xxxxxxxx",`, 10_000) + `1]`,
	} {
		out.Reset()
		if r := call(t, o, "log", args); r.Rejected {
			t.Error(show(t, r))
		}
		if n := out.Len(); n < 4000 || n > 10_000 {
			t.Errorf("logged %d bytes of %.20s…, want about 4 KiB, as they are or as escapes", n, args)
		}
	}
}

// Entries stand in the order in which they were sent.
func TestConsoleKeepsTheOrder(t *testing.T) {
	var out bytes.Buffer
	o := service.Console(logging.NewText(&out, slog.LevelInfo))
	var replies []<-chan service.Reply
	for i := range 200 {
		replies = append(replies, begin(t.Context(), o, service.Call{MethArgs: message(t, "log", fmt.Sprintf(`["n%d"]`, i)), Again: i == 0}))
	}
	for _, r := range replies {
		wait(t, r)
	}
	for i, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
		if !strings.Contains(line, fmt.Sprintf("text=n%d", i)) || strings.Contains(line, "again=true") != (i == 0) {
			t.Fatalf("entry %d is %s", i, line)
		}
	}
}

// A vat in a loop does not push others out of the log; nor does it make them silent.
func TestConsoleLeavesOutWhatIsTooMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		o := service.Console(logging.NewText(&out, slog.LevelInfo))
		say := func(vat, method, text string) (logged string) {
			t.Helper()
			out.Reset()
			r := wait(t, begin(t.Context(), o, service.Call{MethArgs: message(t, method, `["`+text+`"]`), Vat: vat, Subcluster: "s1"}))
			if got := show(t, r); got != `{"$undefined":true}` {
				t.Errorf("got %s", got)
			}
			return strings.TrimSuffix(out.String(), "\n")
		}
		said := 0
		for i := range 3000 {
			if say("v1", []string{"log", "error"}[i%2], "loop") != "" {
				said++
			}
		}
		if said != 1000 {
			t.Errorf("%d entries of one vat in one moment, want 1000", said)
		}
		if got, want := say("v2", "log", "hello"), `[INFO]  vat says: vat=v2 subcluster=s1 text=hello`; got != want {
			t.Errorf("another vat logged %q, want %q", got, want)
		}
		<-time.After(time.Second)
		if got, want := say("v1", "log", "later"), `[INFO]  vat says: vat=v1 subcluster=s1 text=later leftOut=2000`; got != want {
			t.Errorf("later it logged %q, want %q", got, want)
		}
		if got := say("v1", "log", "again"); strings.Contains(got, "leftOut") || got == "" {
			t.Errorf("then it logged %q", got)
		}
	})
}

package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/internal/logging"
)

func TestLevelsHaveNames(t *testing.T) {
	for _, name := range []string{"trace", "debug", "info", "warn", "error", "off"} {
		level, ok := logging.ParseLevel(name)
		if got := logging.LevelName(level); got != name || !ok {
			t.Errorf("%s: got %s, %v", name, got, ok)
		}
		log := logging.New(level, func(logging.Line) {})
		if got := logging.LevelOf(log); got != level {
			t.Errorf("the level of a logger of %s: got %v", name, got)
		}
	}
	if level, ok := logging.ParseLevel(" Warn"); level != slog.LevelWarn || !ok {
		t.Errorf("got %v, %v", level, ok)
	}
	if _, ok := logging.ParseLevel("loud"); ok {
		t.Error("a level that there is not is parsed")
	}
	if got := logging.LevelName(slog.LevelInfo + 1); got != "info" {
		t.Errorf("a level between two is %s", got)
	}
}

// Lines are told with all that was said to the logger, at the call and before.
func TestALineHasWhatTheLoggerWasMadeWith(t *testing.T) {
	var got []logging.Line
	log := logging.New(slog.LevelInfo, func(l logging.Line) { l.Time = time.Time{}; got = append(got, l) })
	io := logging.Named(log, "io").With("vat", "v1", "again", true)
	log.Debug("too low")
	io.Info("read", "n", 3, slog.Group("of", "unit", "line", "at", time.Second))
	logging.Named(io, "socket").With("vat", "v2").WithGroup("peer").With("uid", 7).Warn("gone", "pid", 8)
	log.Log(context.Background(), logging.Trace, "too low")
	want := []logging.Line{
		{Level: slog.LevelInfo, Component: "io", Message: "read", Args: []any{"again", true, "vat", "v1", "n", int64(3), "of.unit", "line", "of.at", time.Second}},
		{Level: slog.LevelWarn, Component: "io.socket", Message: "gone", Args: []any{"again", true, "peer.uid", int64(7), "vat", "v2", "peer.pid", int64(8)}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestALineIsReadByPeople(t *testing.T) {
	var out bytes.Buffer
	log := logging.NewText(&out, slog.LevelInfo)
	log.Info("made")
	logging.Named(log, "io").Error("gone", "channel", "c", "err", errors.New(`no "file" here`), "n", nil)
	if got, want := out.String(), "[INFO]  made\n[ERROR] io: gone: channel=c err=\"no \\\"file\\\" here\" n=<nil>\n"; got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAWorkerLogsObjectsWhoseNamesAreItsOwn(t *testing.T) {
	var out bytes.Buffer
	log := logging.NewWorker(&out, slog.LevelDebug)
	log.Warn("careful", "msg", "mine", "time", time.Unix(0, 0).UTC(), "level", "high", "err", errors.New("no"), "n", 1<<40, "@message", "forged", "f", func() {})
	line := out.Bytes()
	var got map[string]any
	if err := json.Unmarshal(line, &got); err != nil || !bytes.HasSuffix(line, []byte("}\n")) {
		t.Fatalf("%s: %v", line, err)
	}
	if _, err := time.Parse(time.RFC3339Nano, got["@timestamp"].(string)); err != nil {
		t.Error(err)
	}
	if got["f"] == "" || got["f"] == nil {
		t.Errorf("a value without JSON is %v", got["f"])
	}
	delete(got, "@timestamp")
	delete(got, "f")
	want := map[string]any{
		"@level": "warn", "@message": "careful", "msg": "mine", "time": "1970-01-01T00:00:00Z", "level": "high", "err": "no", "n": float64(1 << 40), "_@message": "forged",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

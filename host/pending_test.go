package host_test

import (
	"context"
	"testing"
	"time"

	"ocapkernel.dev/storage"
)

// A subcluster that is to be launched again, and of which the configuration cannot be read, or is missing, holds nobody up: neither who
// launches the same file, nor the declared system subclusters, that of its name included.
func TestAReloadThatCannotBeReadHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	text := func(s string) []byte {
		if len(s) > 31 {
			return append([]byte{0xd9, byte(len(s))}, s...)
		}
		return append([]byte{0xa0 | byte(len(s))}, s...)
	}
	row := func(sub, system, source string) storage.Write {
		value := append([]byte{0x94}, text(system)...)
		value = append(value, text(source)...)
		return storage.Write{Key: "reload." + sub, Value: append(value, 0xa0, 0)}
	}
	change := withController(t)
	for name, config := range map[string][]byte{"garbled": {0xc1}, "missing": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := storage.NewMem()
			k := start(t, mem, nil)
			k.end(t)
			reopen(t, mem)
			cfg := example(t, "pingpong")
			writes := []storage.Write{row("s8", "controller", ""), row("s9", "", cfg.Source)}
			if config != nil {
				writes = append(writes, storage.Write{Key: "h.s8", Value: config}, storage.Write{Key: "h.s9", Value: config})
			}
			if err := mem.Commit(writes); err != nil {
				t.Fatal(err)
			}
			k = start(t, mem, change)
			there(t, k, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if got, err := k.Ensure(ctx, cfg); err != nil || !got.Launched {
				t.Errorf("got %+v, %v", got, err)
			}
			k.end(t)
		})
	}
}

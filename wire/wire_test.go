package wire_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"ocapkernel.dev/wire"
)

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// Generators of every value that a frame can hold. An empty list and no list are the same: nil.

func genText(most int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		s := rapid.String().Draw(t, "text")
		for len(s) > most {
			_, size := lastRune(s)
			s = s[:len(s)-size]
		}
		return s
	})
}

func lastRune(s string) (rune, int) {
	r := []rune(s)
	return r[len(r)-1], len(string(r[len(r)-1]))
}

func genList[T any](item *rapid.Generator[T], most int) *rapid.Generator[[]T] {
	return rapid.Custom(func(t *rapid.T) []T {
		return append([]T(nil), rapid.SliceOfN(item, 0, most).Draw(t, "list")...)
	})
}

func genRef() *rapid.Generator[wire.Ref] {
	return rapid.Custom(func(t *rapid.T) wire.Ref {
		return wire.Ref(rapid.OneOf(rapid.Just(""), rapid.StringMatching(`[op][+-][0-9]{1,15}`), genText(wire.MaxRefBytes)).Draw(t, "ref"))
	})
}

func genCapData() *rapid.Generator[wire.CapData] {
	return rapid.Custom(func(t *rapid.T) wire.CapData {
		body := rapid.OneOf(rapid.String(), rapid.StringN(0, 400, -1), rapid.Map(rapid.SampledFrom([]int{31, 32, 255, 256, 65_535, 65_536}), func(n int) string { return strings.Repeat("x", n) })).Draw(t, "body")
		return wire.CapData{Body: body, Slots: genList(genRef(), 20).Draw(t, "slots")}
	})
}

func genMessage() *rapid.Generator[wire.Message] {
	return rapid.Custom(func(t *rapid.T) wire.Message {
		return wire.Message{MethArgs: genCapData().Draw(t, "methargs"), Result: genRef().Draw(t, "result")}
	})
}

func genResolutions() *rapid.Generator[[]wire.Resolution] {
	return genList(rapid.Custom(func(t *rapid.T) wire.Resolution {
		return wire.Resolution{Promise: genRef().Draw(t, "promise"), Rejected: rapid.Bool().Draw(t, "rejected"), Value: genCapData().Draw(t, "value")}
	}), 4)
}

func genBytes() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		n := rapid.SampledFrom([]int{0, 1, 255, 256, 65_535, 65_536}).Draw(t, "size")
		return append(make([]byte, n), rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "more")...)
	})
}

func genRow() *rapid.Generator[wire.Row] {
	return rapid.Custom(func(t *rapid.T) wire.Row {
		r := wire.Row{Key: genText(wire.MaxKeyBytes).Draw(t, "key"), Found: rapid.Bool().Draw(t, "found")}
		if r.Found {
			r.Value = genBytes().Draw(t, "value")
		}
		return r
	})
}

func genDelivery() *rapid.Generator[wire.Delivery] {
	refs := genList(genRef(), 20)
	return rapid.Custom(func(t *rapid.T) wire.Delivery {
		switch rapid.IntRange(0, 6).Draw(t, "delivery") {
		case 0:
			return wire.StartVat{}
		case 1:
			return wire.Call{Target: genRef().Draw(t, "target"), Message: genMessage().Draw(t, "message")}
		case 2:
			return wire.Notify{Resolutions: genResolutions().Draw(t, "resolutions")}
		case 3:
			return wire.DropExports{Refs: refs.Draw(t, "refs")}
		case 4:
			return wire.RetireExports{Refs: refs.Draw(t, "refs")}
		case 5:
			return wire.RetireImports{Refs: refs.Draw(t, "refs")}
		}
		d := wire.BringOutYourDead{Bare: rapid.Bool().Draw(t, "bare")}
		if !d.Bare {
			d.Known, d.More = refs.Draw(t, "known"), rapid.Bool().Draw(t, "more")
		}
		return d
	})
}

func genSyscall() *rapid.Generator[wire.Syscall] {
	refs, key := genList(genRef(), 20), genText(wire.MaxKeyBytes)
	return rapid.Custom(func(t *rapid.T) wire.Syscall {
		switch rapid.IntRange(0, 12).Draw(t, "syscall") {
		case 0:
			return wire.Send{Target: genRef().Draw(t, "target"), Message: genMessage().Draw(t, "message")}
		case 1:
			return wire.Subscribe{Promise: genRef().Draw(t, "promise"), Stored: rapid.Bool().Draw(t, "stored")}
		case 2:
			return wire.Resolve{Resolutions: genResolutions().Draw(t, "resolutions")}
		case 3:
			return wire.Exit{Failure: rapid.Bool().Draw(t, "failure"), Info: genCapData().Draw(t, "info")}
		case 4:
			return wire.DropImports{Refs: refs.Draw(t, "refs")}
		case 5:
			return wire.RetireImportsCall{Refs: refs.Draw(t, "refs")}
		case 6:
			return wire.RetireExportsCall{Refs: refs.Draw(t, "refs")}
		case 7:
			return wire.AbandonExports{Refs: refs.Draw(t, "refs")}
		case 8:
			return wire.StoreSet{Key: key.Draw(t, "key"), Value: genBytes().Draw(t, "value")}
		case 9:
			return wire.Keep{Promise: genRef().Draw(t, "promise"), Stored: rapid.Bool().Draw(t, "stored")}
		case 10:
			return wire.Watch{Target: genRef().Draw(t, "target"), Result: genRef().Draw(t, "result")}
		case 11:
			return wire.Collect{}
		}
		return wire.StoreDelete{Key: key.Draw(t, "key")}
	})
}

func genDown() *rapid.Generator[wire.DownFrame] {
	return rapid.Custom(func(t *rapid.T) wire.DownFrame {
		text, n, count := rapid.String(), rapid.Uint64(), rapid.IntRange(0, math.MaxInt32)
		switch rapid.IntRange(0, 3).Draw(t, "frame") {
		case 0:
			return wire.Start{
				Vat: text.Draw(t, "vat"), Name: text.Draw(t, "name"), Module: text.Draw(t, "module"), Parameters: text.Draw(t, "parameters"),
				Incarnation: n.Draw(t, "incarnation"), HighObject: n.Draw(t, "object"), HighPromise: n.Draw(t, "promise"), Replays: n.Draw(t, "replays"),
				MaxFrameBytes: count.Draw(t, "frame bytes"), MaxSyscalls: count.Draw(t, "syscalls"),
			}
		case 1:
			return wire.Deliver{
				Number: n.Draw(t, "number"), Now: rapid.Int64().Draw(t, "now"), Seed: n.Draw(t, "seed"), Attempt: n.Draw(t, "attempt"),
				State: genList(genRow(), 4).Draw(t, "state"), Delivery: genDelivery().Draw(t, "delivery"),
			}
		case 2:
			return genRow().Draw(t, "row")
		}
		return wire.Bye{}
	})
}

func genUp() *rapid.Generator[wire.UpFrame] {
	return rapid.Custom(func(t *rapid.T) wire.UpFrame {
		text, key := genText(wire.MaxTextBytes), genText(wire.MaxKeyBytes)
		switch rapid.IntRange(0, 3).Draw(t, "frame") {
		case 0:
			return wire.Hello{Error: text.Draw(t, "error")}
		case 1:
			return wire.Done{
				Number: rapid.Uint64().Draw(t, "number"), Syscalls: genList(genSyscall(), 20).Draw(t, "syscalls"),
				Outcome: wire.Outcome{Parked: rapid.IntRange(0, math.MaxInt32).Draw(t, "parked"), Fault: text.Draw(t, "fault")},
			}
		case 2:
			return wire.Get{Key: key.Draw(t, "key")}
		}
		return wire.Next{After: key.Draw(t, "after"), Prefix: key.Draw(t, "prefix")}
	})
}

// Every value comes back as it was, and its bytes are its only ones.
func TestRoundTrip(t *testing.T) {
	t.Run("down", rapid.MakeCheck(func(t *rapid.T) {
		roundTrip(t, genDown().Draw(t, "frame"), wire.AppendDown, wire.DecodeDown)
	}))
	t.Run("up", rapid.MakeCheck(func(t *rapid.T) {
		roundTrip(t, genUp().Draw(t, "frame"), wire.AppendUp, decodeUp)
	}))
}

func decodeUp(b []byte) (wire.UpFrame, error) { return wire.DecodeUp(b, wire.Limits{}) }

func roundTrip[F any](t *rapid.T, f F, app func([]byte, F) ([]byte, error), decode func([]byte) (F, error)) {
	b, err := app([]byte("before"), f)
	if err != nil {
		t.Fatal(err)
	}
	b, ok := bytes.CutPrefix(b, []byte("before"))
	if !ok {
		t.Fatal("what was in the buffer is lost")
	}
	// Through a reader that gives less than it is asked for, with another frame behind.
	r := iotest.HalfReader(bytes.NewReader(append(bytes.Clone(b), 1, 0, 0, 0, 0x90)))
	frame, err := wire.ReadFrame(r, nil, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(frame, b[wire.HeaderBytes:]) {
		t.Fatal("frame was not read as it was written")
	}
	got, err := decode(frame)
	if err != nil {
		t.Fatal(err)
	}
	clear(frame) // nothing of the value may lie in it
	if diff := cmp.Diff(f, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	again, err := app(nil, got)
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("encodes differently the second time (%v)", err)
	}
}

// The encoder refuses a value that no frame can hold, and leaves the buffer alone.
func TestEncodeRefuses(t *testing.T) {
	long := strings.Repeat("x", 5000)
	up := map[string]wire.UpFrame{
		"nil":           nil,
		"text":          wire.Hello{Error: "\xff"},
		"long text":     wire.Hello{Error: long},
		"key":           wire.Get{Key: "\xff"},
		"long key":      wire.Get{Key: long},
		"long prefix":   wire.Next{Prefix: long},
		"nil syscall":   wire.Done{Syscalls: []wire.Syscall{nil}},
		"body":          wire.Done{Syscalls: []wire.Syscall{wire.Exit{Info: wire.CapData{Body: "\xed\xa0\x80"}}}},
		"long ref":      wire.Done{Syscalls: []wire.Syscall{wire.Subscribe{Promise: wire.Ref(long)}}},
		"long set":      wire.Done{Syscalls: []wire.Syscall{wire.StoreSet{Key: long}}},
		"parked":        wire.Done{Outcome: wire.Outcome{Parked: -1}},
		"pointer frame": &wire.Hello{},
	}
	for name, f := range up {
		if b, err := wire.AppendUp([]byte("x"), f); err == nil || string(b) != "x" {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
	down := map[string]wire.DownFrame{
		"nil":          nil,
		"nil delivery": wire.Deliver{},
		"lost value":   wire.Row{Value: []byte{}},
		"negative":     wire.Start{MaxSyscalls: -1},
	}
	for name, f := range down {
		if b, err := wire.AppendDown([]byte("x"), f); err == nil || string(b) != "x" {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
	}
}

// cat joins pieces of msgpack.
func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func TestHostileFrames(t *testing.T) {
	outcome := cat(0x92, 0, 0xa0)
	done := func(syscalls ...any) []byte { return cat(0x94, 18, 1, cat(syscalls...), outcome) }
	tests := map[string]struct {
		frame []byte
		limit bool
		want  string
	}{
		"nothing":                    {nil, false, "empty"},
		"no array":                   {cat(0xc0), false, "is an array"},
		"map":                        {cat(0x81, 0, 0), false, "is an array"},
		"array of 2^32-1":            {cat(0xdd, 0xff, 0xff, 0xff, 0xff), false, "bytes remain"},
		"map of 2^32-1":              {cat(0x92, 17, 0xdf, 0xff, 0xff, 0xff, 0xff), false, "no place"},
		"bytes of 2^32-1":            {cat(0x92, 17, 0xc6, 0xff, 0xff, 0xff, 0xff), false, "bytes remain"},
		"string of 2^32-1":           {cat(0x92, 17, 0xdb, 0xff, 0xff, 0xff, 0xff), false, "bytes remain"},
		"a million open arrays":      {bytes.Repeat([]byte{0x91}, 1_000_000), true, "nested"},
		"arrays that claim 65535":    {bytes.Repeat([]byte{0xdc, 0xff, 0xff}, 24_000), true, "nested"},
		"bytes after the end":        {cat(0x92, 17, 0xa0, 0xc0), false, "after the end"},
		"cut in a length":            {cat(0x92, 17, 0xda, 1), false, "cut off"},
		"cut between items":          {cat(0x93, 17, 0xa1, 0x41), false, "cut off"},
		"string is not UTF-8":        {cat(0x92, 17, 0xa1, 0xff), false, "UTF-8"},
		"surrogate":                  {cat(0x92, 17, 0xa3, 0xed, 0xa0, 0x80), false, "UTF-8"},
		"ext":                        {cat(0x92, 17, 0xd4, 0, 0), false, "no place"},
		"float":                      {cat(0x92, 17, 0xca, 0, 0, 0, 0), false, "no place"},
		"reserved code":              {cat(0x92, 17, 0xc1), false, "no place"},
		"long form of a small int":   {cat(0x92, 0xcc, 17, 0xa0), false, "shortest"},
		"long form of 200":           {cat(0x92, 19, 0xcd, 0, 200), false, "shortest"},
		"signed form of 1":           {cat(0x92, 19, 0xd0, 1), false, "shortest"},
		"signed form of -1":          {cat(0x92, 19, 0xd3, bytes.Repeat([]byte{0xff}, 8)), false, "shortest"},
		"long form of a string":      {cat(0x92, 17, 0xd9, 0), false, "shortest"},
		"long form of bytes":         {cat(0x92, 17, 0xc5, 0, 0), false, "shortest"},
		"long form of an array":      {cat(0xdc, 0, 2, 17, 0xa0), false, "shortest"},
		"no kind":                    {cat(0x90), false, "frame ends early"},
		"unknown kind":               {cat(0x91, 99), false, "kind 99"},
		"kind of the other way":      {cat(0x91, 4), false, "kind 4"},
		"kind that wraps":            {cat(0x92, 0xcd, 1, 17, 0xa0), false, "kind 273"},
		"kind is text":               {cat(0x92, 0xa0, 0xa0), false, "natural number"},
		"kind is negative":           {cat(0x92, 0xff, 0xa0), false, "natural number"},
		"kind is nil":                {cat(0x92, 0xc0, 0xa0), false, "natural number"},
		"field missing":              {cat(0x91, 17), false, "want 2 fields, got 1"},
		"field too many":             {cat(0x93, 17, 0xa0, 0xa0), false, "want 2 fields, got 3"},
		"nil for text":               {cat(0x92, 17, 0xc0), false, "want a string"},
		"bytes for text":             {cat(0x92, 17, 0xc4, 0), false, "want a string"},
		"array for text":             {cat(0x92, 17, 0x90), false, "want a string"},
		"long text":                  {cat(0x92, 17, 0xda, 0x10, 0x01, strings.Repeat("x", 4097)), true, "4097 bytes"},
		"long key":                   {cat(0x92, 19, 0xda, 0x04, 0x01, strings.Repeat("x", 1025)), true, "1025 bytes"},
		"text for a list":            {done(0xa0), false, "want an array"},
		"nil for a list":             {done(0xc0), false, "want an array"},
		"nil for a syscall":          {done(0x91, 0xc0), false, "want an array"},
		"syscall without kind":       {done(0x91, 0x90), false, "natural number"},
		"unknown syscall":            {done(0x91, 0x91, 0), false, "unknown syscall kind 0"},
		"too many syscalls":          {done(0xdc, 0x27, 0x11, bytes.Repeat(cat(0x92, 10, 0xa0), 10_001)), true, "10001 items"},
		"nil for a reference":        {done(0x91, 0x93, 2, 0xc0, 0xc2), false, "want a string"},
		"long reference":             {done(0x91, 0x93, 2, 0xd9, 49, strings.Repeat("1", 49), 0xc2), true, "49 bytes"},
		"number for a truth value":   {done(0x91, 0x93, 4, 1, 0x92, 0xa0, 0x90), false, "truth value"},
		"nil for a truth value":      {done(0x91, 0x93, 4, 0xc0, 0x92, 0xa0, 0x90), false, "truth value"},
		"subscribe without stored":   {done(0x91, 0x92, 2, 0xa0), false, "subscribe: want 3 fields, got 2"},
		"text for bytes":             {done(0x91, 0x93, 9, 0xa0, 0xa0), false, "want bytes"},
		"nil for bytes":              {done(0x91, 0x93, 9, 0xa0, 0xc0), false, "want bytes"},
		"too many slots":             {done(0x91, 0x93, 4, 0xc3, 0x92, 0xa0, 0xdc, 0x10, 0x01, bytes.Repeat([]byte{0xa0}, 4097)), true, "slots: 4097 items"},
		"short capdata":              {done(0x91, 0x93, 4, 0xc3, 0x91, 0xa0), false, "capdata: want 2 fields"},
		"negative delivery number":   {cat(0x94, 18, 0xff, 0x90, outcome), false, "natural number"},
		"parked turns beyond reason": {cat(0x94, 18, 1, 0x90, 0x92, 0xce, 0xff, 0xff, 0xff, 0xff, 0xa0), false, "out of range"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := allocated()
			f, err := wire.DecodeUp(tt.frame, wire.Limits{})
			if n := allocated() - before; n > 1<<20 {
				t.Errorf("%d bytes became %d", len(tt.frame), n)
			}
			if err == nil {
				t.Fatalf("got %+v, want an error with %q", f, tt.want)
			}
			if f != nil {
				t.Errorf("got %+v beside the error", f)
			}
			if !strings.Contains(err.Error(), tt.want) || errors.Is(err, wire.ErrLimit) != tt.limit {
				t.Errorf("got error %q, want one with %q, limit: %v", err, tt.want, tt.limit)
			}
		})
	}
	if f, err := wire.DecodeUp(cat(0x92, 17, 0xa0), wire.Limits{FrameBytes: 2}); !errors.Is(err, wire.ErrLimit) {
		t.Errorf("got %v, %v for a frame over the limit", f, err)
	}
}

func TestNumbersAtTheirEnds(t *testing.T) {
	for _, now := range []int64{
		0, 127, 128, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64,
		-1, -32, -33, -128, -129, -32768, -32769, math.MinInt32, math.MinInt32 - 1, math.MinInt64,
	} {
		f := wire.Deliver{Now: now, Seed: uint64(now), Delivery: wire.StartVat{}}
		b, err := wire.AppendDown(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := wire.DecodeDown(b[wire.HeaderBytes:])
		if diff := cmp.Diff(wire.DownFrame(f), got); err != nil || diff != "" {
			t.Errorf("%d: %v %s", now, err, diff)
		}
	}
	over := cat(0x96, 2, 0, 0xcf, bytes.Repeat([]byte{0xff}, 8), 0, 0x90, 0x91, 1)
	if f, err := wire.DecodeDown(over); err == nil {
		t.Errorf("got %+v for a time beyond int64", f)
	}
}

func TestReadFrame(t *testing.T) {
	read := func(b ...byte) error {
		_, err := wire.ReadFrame(bytes.NewReader(b), make([]byte, 100), 10)
		return err
	}
	if err := read(); err != io.EOF {
		t.Errorf("at the end: got %v", err)
	}
	if err := read(1, 0); err != io.ErrUnexpectedEOF {
		t.Errorf("in the header: got %v", err)
	}
	if err := read(1, 0, 0, 0); err != io.ErrUnexpectedEOF {
		t.Errorf("after the header: got %v", err)
	}
	if err := read(0, 0, 0, 0); err == nil {
		t.Error("empty frame is accepted")
	}
	if err := read(11, 0, 0, 0); !errors.Is(err, wire.ErrLimit) {
		t.Errorf("over the limit: got %v", err)
	}
	if err := read(0xff, 0xff, 0xff, 0xff); !errors.Is(err, wire.ErrLimit) {
		t.Errorf("far over the limit: got %v", err)
	}
	// A peer that promises a gigabyte gets no gigabyte.
	before, after := allocated(), uint64(0)
	_, err := wire.ReadFrame(bytes.NewReader([]byte{0, 0, 0, 0x40, 1, 2, 3}), nil, 1<<30)
	if after = allocated(); err != io.ErrUnexpectedEOF || after-before > 1<<20 {
		t.Errorf("got %v, allocated %d bytes", err, after-before)
	}
}

// Every type that belongs to a closed set appears in the generators above: else its round trip is untested.
func TestGeneratorsNameEveryType(t *testing.T) {
	seen := map[reflect.Type]bool{}
	for i := range 500 {
		switch d := genDown().Example(i).(type) {
		case wire.Deliver:
			seen[reflect.TypeOf(d)], seen[reflect.TypeOf(d.Delivery)] = true, true
		default:
			seen[reflect.TypeOf(d)] = true
		}
		u := genUp().Example(i)
		seen[reflect.TypeOf(u)] = true
		if d, ok := u.(wire.Done); ok {
			for _, s := range d.Syscalls {
				seen[reflect.TypeOf(s)] = true
			}
		}
	}
	if len(seen) != 4+7+4+13 {
		t.Errorf("got %d types: %v", len(seen), seen)
	}
}

// The kernel decides by the worker's version in which form it asks; both are told apart.
func TestFormsOfBringOutYourDead(t *testing.T) {
	down := func(d wire.Delivery) ([]byte, error) {
		b, err := wire.AppendDown(nil, wire.Deliver{Number: 1, Delivery: d})
		return bytes.TrimPrefix(b[min(len(b), wire.HeaderBytes):], []byte{0x97, 2, 1, 0, 0, 0, 0x90}), err
	}
	for _, tt := range []struct {
		d    wire.BringOutYourDead
		want []byte
	}{
		{wire.BringOutYourDead{Bare: true}, cat(0x91, 7)},
		{wire.BringOutYourDead{}, cat(0x93, 7, 0x90, 0xc2)},
		{wire.BringOutYourDead{Known: []wire.Ref{"o-1"}, More: true}, cat(0x93, 7, 0x91, 0xa3, "o-1", 0xc3)},
	} {
		if got, err := down(tt.d); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%+v: got %x, %v, want %x", tt.d, got, err, tt.want)
		}
	}
	for _, d := range []wire.BringOutYourDead{
		{Bare: true, More: true},
		{Bare: true, Known: []wire.Ref{"o-1"}},
		{Known: make([]wire.Ref, wire.MaxKnown+1)},
	} {
		if b, err := down(d); err == nil {
			t.Errorf("%d names, %+v: got %x, want an error", len(d.Known), d, b)
		}
	}
	many := cat(0x97, 2, 1, 0, 0, 0, 0x90, 0x93, 7, 0xdc, 0x03, 0xe9, bytes.Repeat([]byte{0xa0}, 1001), 0xc2)
	for name, frame := range map[string][]byte{
		"too many names": many,
		"two fields":     cat(0x97, 2, 1, 0, 0, 0, 0x90, 0x92, 7, 0x90),
		"nil for more":   cat(0x97, 2, 1, 0, 0, 0, 0x90, 0x93, 7, 0x90, 0xc0),
	} {
		if f, err := wire.DecodeDown(frame); err == nil {
			t.Errorf("%s: got %+v", name, f)
		}
	}
}

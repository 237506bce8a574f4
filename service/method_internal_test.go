package service

import (
	"context"
	"math/big"
	"reflect"
	"testing"
	"time"
	"unsafe"
)

type (
	// folder holds others of its type.
	folder struct {
		Name string
		In   []folder
		Up   *folder
	}
	// spelled reads and writes itself as text, whatever it is.
	spelled chan int
	// taken reads itself, and given writes itself.
	taken  chan int
	given  chan int
	hidden struct {
		C chan int `json:"-"`
		//lint:ignore U1000 encoding/json passes over it, which is the case here
		none chan int
	}
	inner    struct{ C chan int }
	embedded struct{ inner }
)

func (spelled) MarshalText() ([]byte, error) { return nil, nil }
func (*spelled) UnmarshalText([]byte) error  { return nil }
func (*taken) UnmarshalJSON([]byte) error    { return nil }
func (given) MarshalJSON() ([]byte, error)   { return nil, nil }

func TestWhatJSONCanReadAndWrite(t *testing.T) {
	for _, c := range []struct {
		of          reflect.Type
		read, write string // what it cannot; empty: it can
	}{
		{reflect.TypeFor[folder](), "", ""},
		{reflect.TypeFor[any](), "", ""},
		{reflect.TypeFor[error](), "error", ""}, // of which only the value tells
		{reflect.TypeFor[chan int](), "chan int", "chan int"},
		{reflect.TypeFor[func()](), "func()", "func()"},
		{reflect.TypeFor[complex64](), "complex64", "complex64"},
		{reflect.TypeFor[complex128](), "complex128", "complex128"},
		{reflect.TypeFor[unsafe.Pointer](), "unsafe.Pointer", "unsafe.Pointer"},
		{reflect.TypeFor[*chan int](), "chan int", "chan int"},
		{reflect.TypeFor[[]chan int](), "chan int", "chan int"},
		{reflect.TypeFor[[2]chan int](), "chan int", "chan int"},
		{reflect.TypeFor[map[string]chan int](), "chan int", "chan int"},
		{reflect.TypeFor[map[string]int](), "", ""},
		{reflect.TypeFor[map[int]int](), "", ""},
		{reflect.TypeFor[map[uintptr]int](), "", ""},
		{reflect.TypeFor[map[bool]int](), "map[bool]int", "map[bool]int"},
		{reflect.TypeFor[map[float64]int](), "map[float64]int", "map[float64]int"},
		{reflect.TypeFor[map[time.Time]int](), "", ""},
		{reflect.TypeFor[map[given]int](), "map[service.given]int", "map[service.given]int"}, // a key is text
		{reflect.TypeFor[spelled](), "", ""},
		{reflect.TypeFor[taken](), "", "service.taken"},
		{reflect.TypeFor[given](), "service.given", ""},
		{reflect.TypeFor[hidden](), "", ""},
		{reflect.TypeFor[embedded](), "chan int", "chan int"},
		{reflect.TypeFor[struct{ A, C chan int }](), "chan int", "chan int"},
	} {
		if got := notJSON(c.of, true, nil); got != c.read {
			t.Errorf("%v cannot be read: %q, want %q", c.of, got, c.read)
		}
		if got := notJSON(c.of, false, nil); got != c.write {
			t.Errorf("%v cannot be written: %q, want %q", c.of, got, c.write)
		}
	}
}

func TestSignaturesAreShownAsACallerSeesThem(t *testing.T) {
	type named []byte
	for _, c := range []struct {
		fn          any
		want, count string
	}{
		{func() {}, "m()", "0"},
		{func(context.Context, int) {}, "m(int)", "1"},
		{func(*string, ...Ref) {}, "m(string, ...reference)", "1 or more"},
		{func(any, []byte, named) {}, "m(any, base64 string, service.named)", "3"},
		{func([]int, map[string][]byte) {}, "m([]int, map[string][]byte)", "2"},
		{func(*big.Int, time.Time, *time.Time) {}, "m(*big.Int, time.Time, time.Time)", "3"},
		{func(struct {
			A int
			B *string `json:"b,omitempty"`
			C int     `json:"-"`
			d int
		}) {
		}, "m({A int, b string})", "1"},
	} {
		m, err := newMethod("m", reflect.ValueOf(c.fn))
		if err != nil {
			t.Fatal(err)
		}
		if got := m.signature(); got != c.want || m.count() != c.count {
			t.Errorf("%T is %s with %s, want %s with %s", c.fn, got, m.count(), c.want, c.count)
		}
	}
}

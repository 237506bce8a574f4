//lint:file-ignore U1000 some fields are there to be found wanting

package liveslots_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/liveslots"
	"ocapkernel.dev/vat"
)

type Bad struct {
	vat.Durable
	Fine     int
	hidden   int
	Func     func()
	Chan     chan int
	Promise  vat.Promise
	Weak     *Weak
	Weaks    map[string][]*Weak
	Copied   Item
	Keys     map[int]string
	Reader   interface{ Read() }
	Same     int `vat:"fine"`
	Plain    BadPlain
	MapOfMap vat.Map[string, vat.Map[string, int]]
	MapKey   vat.Map[float64, int]
	MapVal   vat.Map[string, vat.Promise]
	Maps     []vat.Map[string, int]
	Other    *AlsoBad

	cache map[string]int `vat:"-"`
	Skip  func()         `vat:"-"`
	mu    vat.Mutex
}

type BadPlain struct{ lost int }

type AlsoBad struct {
	vat.Durable
	vat.Ephemeral
}

func (*Bad) Variadic(x ...int)                  {}
func (*Bad) Late(x int, ctx context.Context)    {}
func (*Bad) Func2(f func())                     {}
func (*Bad) Results() (int, int)                { return 0, 0 }
func (*Bad) Table(x vat.Map[string, int])       {}
func (*Bad) Fine2(context.Context, *Weak) error { return nil }

func NewBad(ctx context.Context, p struct{}, more int) (*Bad, error) { return nil, nil }

func TestEverythingWrongIsReported(t *testing.T) {
	_, err := liveslots.Compile("bad", NewBad, 3, (*BadPlain)(nil))
	want := `the constructor takes more than a context.Context and parameters
liveslots_test.Bad.hidden is unexported and would be lost: export it, or declare it transient with the tag ` + "`vat:\"-\"`" + `
liveslots_test.Bad.Func: func() cannot be passed
liveslots_test.Bad.Chan: chan int cannot be passed
liveslots_test.Bad.Promise cannot be saved: a promise lives in memory only; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.Weak cannot be saved: liveslots_test.Weak is ephemeral; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.Weaks cannot be saved: liveslots_test.Weak is ephemeral; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.Copied: liveslots_test.Item is an object and cannot be copied: use *liveslots_test.Item
liveslots_test.Bad.Keys: map[int]string cannot be passed: the keys of a map must be strings
liveslots_test.Bad.Reader: interface { Read() } cannot be passed
liveslots_test.Bad.Fine and liveslots_test.Bad.Same are both called "fine"
liveslots_test.BadPlain.lost is unexported and would be lost: export it, or declare it transient with the tag ` + "`vat:\"-\"`" + `
liveslots_test.Bad.MapOfMap cannot be saved: a Map can only be a field of a durable object; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.MapKey cannot be saved: the key of a Map is a string, an integer, a Ref or a durable object, not float64; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.MapVal cannot be saved: a promise lives in memory only; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.Maps: a Map can only be a field of a durable object
liveslots_test.AlsoBad embeds both Durable and Ephemeral: choose one
liveslots_test.Bad.Other cannot be saved: liveslots_test.AlsoBad is ephemeral; declare it transient with the tag ` + "`vat:\"-\"`" + ` if it may be lost
liveslots_test.Bad.Func2: parameter 1: func() cannot be passed
liveslots_test.Bad.Late: context.Context must be the first parameter
liveslots_test.Bad.Results: a method returns nothing, a value, an error, or a value and an error
liveslots_test.Bad.Table: parameter 1: a Map can only be a field of a durable object
liveslots_test.Bad.Variadic: a variadic method cannot be called by a message: take a slice
int is not a pointer to a struct that embeds Durable or Ephemeral
*liveslots_test.BadPlain is not a pointer to a struct that embeds Durable or Ephemeral`
	if err == nil {
		t.Fatal("no problems found")
	}
	if diff := cmp.Diff(strings.Split(want, "\n"), strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestConstructors(t *testing.T) {
	type notObject struct{}
	for _, c := range []struct {
		constructor any
		want        string
	}{
		{nil, "the constructor is invalid, not a function"},
		{3, "the constructor is int, not a function"},
		{func() {}, "the constructor must return a pointer to the root's struct, and may return an error"},
		{func() Item { return Item{} }, "the constructor must return a pointer to the root's struct, and may return an error"},
		{func() *notObject { return nil }, "the root liveslots_test.notObject must embed Durable"},
		{func() *Weak { return nil }, "the root liveslots_test.Weak embeds Ephemeral: a root is always durable"},
		{func() *Item { return nil }, ""},
		{func(context.Context) (*Item, error) { return nil, nil }, ""},
		{func(map[string]int) *Item { return nil }, ""},
	} {
		_, err := liveslots.Compile("m", c.constructor)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%T:\n got %s\nwant %s", c.constructor, got, c.want)
		}
	}
}

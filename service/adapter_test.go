package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/service"
)

type point struct {
	X int    `json:"x"`
	Y *int   `json:"y,omitempty"`
	S string `json:"s,omitempty"`
}

// zoo has methods of every form.
type zoo struct{}

func (zoo) Nothing()                                {}
func (zoo) Add(a, b int) int                        { return a + b }
func (zoo) ID(context.Context) string               { return "me" }
func (zoo) URLOf(x any) (any, error)                { return x, nil }
func (zoo) Join(sep string, parts ...string) string { return strings.Join(parts, sep) }
func (zoo) Move(p point) point                      { p.X++; return p }
func (zoo) Maybe(p *point) bool                     { return p != nil }
func (zoo) Bytes(b []byte) []byte                   { return bytes.ToUpper(b) }
func (zoo) None() []string                          { return nil }
func (zoo) Table(m map[string]int) int              { return len(m) }
func (zoo) Same(a, b service.Ref) bool              { return a == b }
func (zoo) Echo(r service.Ref) service.Ref          { return r }
func (zoo) Big(n *big.Int) string                   { return n.String() }
func (zoo) Fail() error                             { return errors.New("no luck") }
func (zoo) Half() (int, error)                      { return 1, errors.New("no luck") }
func (zoo) Coded() error                            { return &service.Error{Code: errcode.ConnectionLost, Message: "gone"} }

func (zoo) Wrapped() error { return fmt.Errorf("read it: %w", zoo{}.Coded()) }

func (zoo) Unknown() error    { return &service.Error{Code: "BORED", Message: "gone"} }
func (zoo) Panic()            { panic("secret") }
func (zoo) Leave()            { runtime.Goexit() }
func (zoo) Long(n int) string { return strings.Repeat("x", max(0, min(n, 20<<20))) }

func (zoo) Loud(n int) error                          { return errors.New(strings.Repeat("x", max(0, min(n, 20<<20)))) }
func (zoo) Forge(key, name string) map[string]string  { return map[string]string{key: name} }
func (zoo) Huge() int64                               { return 1<<53 + 1 }
func (zoo) Many(n int) (all []service.Ref, err error) { return manyRefs(n) }
func (zoo) When(t time.Time) string                   { return t.Format(time.RFC3339) }
func (zoo) Nested(p struct{ In []point }) int         { return len(p.In) }
func (zoo) Cyclic() any                               { m := map[string]any{}; m["m"] = m; return m }

func (zoo) Who(ctx context.Context) (c service.Call, e error) {
	c, ok := service.Caller(ctx)
	if !ok || c.MethArgs.Body != "" {
		e = errors.New("no caller")
	}
	return c, e
}

func manyRefs(n int) (all []service.Ref, err error) {
	for i := range min(n, 2000) {
		r, err := service.ParseRef(fmt.Sprint("ko", i+4))
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

func TestCalls(t *testing.T) {
	o := object(t, zoo{}, service.Name("zoo"))
	for _, test := range []struct{ method, args, want string }{
		{"nothing", `[]`, `{"$undefined":true}`},
		{"add", `[1, 2]`, `3`},
		{"add", `[1, {"$bigint":"2"}]`, `3`},
		{"id", `[]`, `"me"`},
		{"urlOf", `[{"a": [1.5, null, "x"]}]`, `{"a":[1.5,null,"x"]}`},
		{"urlOf", `[{"$undefined":true}]`, `null`},
		{"urlOf", `[{"r": {"$ref":"ko9"}, "$$ref": "ko8"}]`, `{"$$ref":"ko8","r":{"$ref":"ko9"}}`},
		{"urlOf", `[[{"$bigint":"5"}, {"$number":"NaN"}, {"$undefined":true}]]`, `[{"$bigint":"5"},{"$number":"NaN"},{"$undefined":true}]`},
		{"join", `["-"]`, `""`},
		{"join", `["-", "a", "b"]`, `"a-b"`},
		{"move", `[{"x": 1, "s": "<é\u2028>", "more": true}]`, `{"s":"<é\u2028>","x":2}`},
		{"maybe", `[{"x": 1}]`, `true`},
		{"maybe", `[null]`, `false`},
		{"maybe", `[{"$undefined":true}]`, `false`},
		{"bytes", `["YWI="]`, `"QUI="`},
		{"none", `[]`, `[]`},
		{"table", `[{"a": 1}]`, `1`},
		{"table", `[null]`, `0`},
		{"same", `[{"$ref":"ko9"}, {"$ref":"ko9"}]`, `true`},
		{"same", `[{"$ref":"ko9"}, {"$ref":"kp9"}]`, `false`},
		{"same", `[null, null]`, `true`},
		{"echo", `[{"$ref":"ko9"}]`, `{"$ref":"ko9"}`},
		{"echo", `[{"$ref":"kp9"}]`, `{"$ref":"kp9"}`},
		{"echo", `[null]`, `null`},
		{"big", `[{"$bigint":"123456789012345678901"}]`, `"123456789012345678901"`},
		{"who", `[]`, `{"Again":false,"At":"1970-01-01T00:00:07Z","ID":"","MethArgs":{"Body":"","Slots":null},"Subcluster":"s1","Vat":"v1"}`},
		{"forge", `["a", "ko9"]`, `{"a":"ko9"}`},
		{"nested", `[{"In": [{"x":1}]}]`, `1`},
		{"long", `[3]`, `"xxx"`},
	} {
		if got := show(t, call(t, o, test.method, test.args)); got != test.want {
			t.Errorf("%s(%s): got %s, want %s", test.method, test.args, got, test.want)
		}
	}
}

func TestRejections(t *testing.T) {
	o := object(t, zoo{}, service.Name("zoo"))
	for _, test := range []struct{ method, args, want string }{
		{"fail", `[]`, `Error: no luck`},
		{"half", `[]`, `Error: no luck`},
		{"coded", `[]`, `Error: [KERNEL:CONNECTION_LOST] gone`},
		{"wrapped", `[]`, `Error: [KERNEL:CONNECTION_LOST] read it: gone`},
		{"unknown", `[]`, `Error: [KERNEL:UNKNOWN] gone`},
		{"panic", `[]`, `Error: zoo.panic: the service panicked; the kernel's log says where`},
		{"leave", `[]`, `Error: zoo.leave: the service panicked; the kernel's log says where`},
		{"Add", `[1,2]`, `TypeError: zoo has no method "Add"; it has add, big, bytes, coded,`},
		{"add", `[1]`, `TypeError: zoo.add: got 1 arguments (number 1), want 2: add(int, int)`},
		{"add", `[1, 2, 3]`, `TypeError: zoo.add: got 3 arguments`},
		{"join", `[]`, `TypeError: zoo.join: got 0 arguments (none), want 1 or more: join(string, ...string)`},
		{"join", `["-", "a", 7]`, `TypeError: zoo.join: argument 3: got number, want string; it takes join(string, ...string)`},
		{"add", `[1, "2"]`, `TypeError: zoo.add: argument 2: got string, want int; it takes add(int, int)`},
		{"add", `[1, 2.5]`, `TypeError: zoo.add: argument 2: got number 2.5, want int; it takes add(int, int)`},
		{"add", `[1, null]`, `TypeError: zoo.add: argument 2: got null, want int`},
		{"add", `[1, {"$undefined":true}]`, `TypeError: zoo.add: argument 2: got undefined, want int`},
		{"add", `[1, {"$bigint":"99999999999999999999"}]`, `TypeError: zoo.add: argument 2: got number 99999999999999999999, want int`},
		{"move", `[{"x": "1"}]`, `TypeError: zoo.move: argument 1: field "x": got string, want int; it takes move({x int, y int, s string})`},
		{"move", `[{"$ref":"ko9"}]`, `TypeError: zoo.move: argument 1: got reference, want {x int, y int, s string}`},
		{"move", `[{"$ref":"kp9"}]`, `TypeError: zoo.move: argument 1: got promise, want {x int, y int, s string}; await it before the call; it takes`},
		{"table", `[{"$ref":"ko9"}]`, `TypeError: zoo.table: argument 1: got reference, want map[string]int`},
		{"table", `[{"$bigint":"9"}]`, `TypeError: zoo.table: argument 1: got bigint, want map[string]int`},
		{"table", `[{"$error":"no","name":"Error"}]`, `TypeError: zoo.table: argument 1: got error, want map[string]int`},
		{"echo", `["ko9"]`, `TypeError: zoo.echo: argument 1: got string "ko9", want reference`},
		{"echo", `[{"$$ref":"ko9"}]`, `TypeError: zoo.echo: argument 1: got record, want reference`},
		{"bytes", `["?"]`, `TypeError: zoo.bytes: argument 1: got string "?", want base64 string`},
		{"join", `["\ud800"]`, `TypeError: zoo.join: argument 1: a string in it holds half of a surrogate pair`},
		{"urlOf", `[["a", "\ud800"]]`, `TypeError: zoo.urlOf: argument 1: a string in it holds half of a surrogate pair`},
		{"urlOf", `[{"a": [{"b": "\udc00"}]}]`, `TypeError: zoo.urlOf: argument 1: a string in it holds half of a surrogate pair`},
		{"urlOf", `[{"a\ud800": 1}]`, `TypeError: zoo.urlOf: argument 1: a string in it holds half of a surrogate pair`},
		{"when", `["yesterday"]`, `TypeError: zoo.when: argument 1: got string "yesterday", want time.Time`},
		{"when", `[null]`, `TypeError: zoo.when: argument 1: got null, want time.Time`},
		{"forge", `["$ref", "ko9"]`, `Error: zoo.forge: the result cannot be passed: {$ref: "ko9"}: a reference is passed as a service.Ref`},
		{"forge", `["$ref", "new0"]`, `Error: zoo.forge: the result cannot be passed: {$ref: "new0"}: a reference is passed as a service.Ref`},
		{"forge", `["$ref", "ko9!x"]`, `Error: zoo.forge: the result cannot be passed: the reference "ko9" is of another process`},
		{"huge", `[]`, `Error: zoo.huge: the result cannot be passed: whole number 9007199254740993 does not fit`},
		{"long", `[1048574]`, `Error: [KERNEL:LIMIT] zoo.long: the result cannot be passed: 1048577 bytes, above the limit of 1048576`},
		{"long", `[20000000]`, `Error: [KERNEL:LIMIT] zoo.long: the result cannot be passed: 20000002 bytes of JSON`},
		{"many", `[1001]`, `Error: [KERNEL:LIMIT] zoo.many: the result cannot be passed: more than the limit of 1000 references`},
		{"cyclic", `[]`, `Error: zoo.cyclic: the result cannot be passed: json: unsupported value`},
	} {
		got := show(t, call(t, o, test.method, test.args))
		if !strings.HasPrefix(got, "rejected "+test.want) {
			t.Errorf("%s(%s): got %s, want rejected %s", test.method, test.args, got, test.want)
		}
		if strings.Contains(got, "!") {
			t.Errorf("%s(%s): got %s, which tells the mark of references", test.method, test.args, got)
		}
	}
	if got := show(t, call(t, o, "loud", `[100000]`)); len(got) > 5000 || len(got) < 4000 {
		t.Errorf("an error of 100000 bytes is passed with %d bytes, want about 4 KiB", len(got))
	}
	for _, body := range []string{"", "#", "#[", `#["add"]`, `#[1,[]]`, `#["add",{}]`, `#["add",["$0.x",1]]`} {
		got := show(t, wait(t, begin(t.Context(), o, service.Call{MethArgs: service.Data{Body: body}})))
		if !strings.HasPrefix(got, "rejected TypeError: zoo: unreadable message: ") {
			t.Errorf("body %q: got %s, want unreadable message", body, got)
		}
	}
}

// A panic is for the operator: its text and its stack are in the log and nowhere else.
func TestPanicIsLogged(t *testing.T) {
	var text bytes.Buffer
	o := object(t, zoo{}, service.Logger(logging.NewText(&text, slog.LevelInfo)))
	if got := show(t, call(t, o, "panic", `[]`)); strings.Contains(got, "secret") || !strings.Contains(got, "service_test.zoo.panic") {
		t.Errorf("got %s, want the name of the method and not the panic's text", got)
	}
	if got := text.String(); !strings.Contains(got, "secret") || !strings.Contains(got, "adapter_test.go") {
		t.Errorf("log has %q, want the panic and its stack", got)
	}
}

type (
	twoValues struct{}
	lateCtx   struct{}
	channels  struct{}
	clash     struct{}
	byPointer struct{}
)

func (twoValues) Get() (int, int)                  { return 1, 2 }
func (lateCtx) Get(_ int, _ context.Context)       {} //nolint:revive // the mistake that is tested
func (channels) Send(struct{ C []chan int }) error { return nil }
func (channels) Recv() func()                      { return nil }
func (clash) ID()                                  {}
func (clash) Id()                                  {} //nolint:revive // the mistake that is tested
func (*byPointer) Get() int                        { return 1 }

func TestNewNamesAllThatIsWrong(t *testing.T) {
	for _, test := range []struct {
		v    any
		opts []service.Option
		want []string
	}{
		{nil, nil, []string{"nil is no value with methods"}},
		{(*byPointer)(nil), nil, []string{"a nil *service_test.byPointer"}},
		{7, nil, []string{"a int has no exported methods"}},
		{byPointer{}, nil, []string{"has no exported methods; pass a pointer to it"}},
		{twoValues{}, nil, []string{"twoValues.Get: a method returns nothing, a value, an error, or a value and an error"}},
		{lateCtx{}, nil, []string{"lateCtx.Get: context.Context must be the first parameter"}},
		{channels{}, nil, []string{"channels.Send: parameter 1: JSON cannot be read into a chan int", "channels.Recv: result: a func() cannot be written"}},
		{clash{}, nil, []string{`ID and Id are both called "id"`}},
		{zoo{}, []service.Option{service.IdempotentMethods("add", "sub")}, []string{`zoo has no method "sub"`}},
		{zoo{}, []service.Option{service.Methods("Add")}, []string{`zoo has no method "Add"`}},
		{&kiosk{}, []service.Option{service.IdempotentMethods("buy", "close")}, []string{"kiosk.Close cannot be called, so that it is not idempotent"}},
		{zoo{}, []service.Option{service.Restorable("zoo", nil)}, []string{"Restorable is for ExportObject"}},
		{object(t, zoo{}), []service.Option{service.Serial()}, []string{"is an Object already"}},
	} {
		_, err := service.New(test.v, test.opts...)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("New(%T): got error %v, want %q", test.v, err, want)
			}
		}
	}
}

func TestMethodsLimitsWhatCanBeCalled(t *testing.T) {
	o := object(t, channels{}, service.Methods())
	if got := show(t, call(t, o, "send", `[{}]`)); !strings.Contains(got, "no method") {
		t.Errorf("with no methods, send gives %s", got)
	}
	o = object(t, zoo{}, service.Methods("id"), service.IdempotentMethods("id", "add"))
	if got := show(t, call(t, o, "id", `[]`)); got != `"me"` {
		t.Errorf("id gives %s", got)
	}
	if got := show(t, call(t, o, "add", `[1,2]`)); !strings.HasSuffix(got, "it has id") {
		t.Errorf("add, which is not among the methods, gives %s", got)
	}
	idempotent := o.(service.Idempotent)
	if !idempotent.Idempotent("id") || idempotent.Idempotent("add") || idempotent.Idempotent("nothing") {
		t.Error("of id, add and nothing, id alone is idempotent and can be called")
	}
}

// gate lets calls wait, and notes their order.
type gate struct {
	open chan struct{}
	seen chan string
}

func newGate() *gate { return &gate{make(chan struct{}), make(chan string, 100_000)} }

func (g *gate) Pass(ctx context.Context, n int) error {
	g.seen <- fmt.Sprint("begin ", n)
	select {
	case <-g.open:
	case <-ctx.Done():
		return ctx.Err()
	}
	g.seen <- fmt.Sprint("end ", n)
	return nil
}

func TestCallsOverlap(t *testing.T) {
	g := newGate()
	o := object(t, g)
	var replies []<-chan service.Reply
	for i := range 3 {
		replies = append(replies, begin(t.Context(), o, service.Call{MethArgs: message(t, "pass", fmt.Sprintf("[%d]", i))}))
	}
	for range 3 {
		<-g.seen
	}
	close(g.open)
	for _, r := range replies {
		wait(t, r)
	}
}

func TestSerialDoesOneCallAfterTheOther(t *testing.T) {
	g := newGate()
	o := object(t, g, service.Serial())
	var replies []<-chan service.Reply
	for i := range 100 {
		replies = append(replies, begin(t.Context(), o, service.Call{MethArgs: message(t, "pass", fmt.Sprintf("[%d]", i))}))
	}
	close(g.open)
	for i, r := range replies {
		wait(t, r)
		if a, b := <-g.seen, <-g.seen; a != fmt.Sprint("begin ", i) || b != fmt.Sprint("end ", i) {
			t.Fatalf("got %s, %s at call %d", a, b, i)
		}
	}
}

// A call that is cancelled while it waits for its turn does nothing; the others go on.
func TestCancelledCallIsNotBegun(t *testing.T) {
	g := newGate()
	o := object(t, g, service.Serial())
	first := begin(t.Context(), o, service.Call{MethArgs: message(t, "pass", "[0]")})
	ctx, cancel := context.WithCancel(t.Context())
	second := begin(ctx, o, service.Call{MethArgs: message(t, "pass", "[1]")})
	third := begin(t.Context(), o, service.Call{MethArgs: message(t, "pass", "[2]")})
	cancel()
	close(g.open)
	wait(t, first)
	if got := show(t, wait(t, second)); !strings.Contains(got, "SERVICE_GONE") {
		t.Errorf("the cancelled call gives %s", got)
	}
	wait(t, third)
	for _, want := range []string{"begin 0", "end 0", "begin 2", "end 2"} {
		if got := <-g.seen; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// A method that ends its goroutine does not stop the calls behind it.
func TestSerialGoesOnAfterPanic(t *testing.T) {
	o := object(t, zoo{}, service.Serial())
	for _, method := range []string{"leave", "panic", "id"} {
		defer wait(t, begin(t.Context(), o, service.Call{MethArgs: message(t, method, "[]")}))
	}
}

func TestTooManyCallsAreRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		o := object(t, g)
		m := message(t, "pass", "[0]")
		var replies []<-chan service.Reply
		for range 11_000 {
			replies = append(replies, begin(t.Context(), o, service.Call{MethArgs: m}))
		}
		synctest.Wait()
		if n := len(g.seen); n != 1000 {
			t.Errorf("%d calls run at the same time, want 1000", n)
		}
		if got := show(t, <-begin(t.Context(), o, service.Call{MethArgs: m})); !strings.Contains(got, "[KERNEL:LIMIT] service_test.gate: 10000 calls wait already") {
			t.Errorf("a call above the limit gives %s", got)
		}
		close(g.open)
		for _, r := range replies {
			if got := show(t, <-r); got != `{"$undefined":true}` {
				t.Fatalf("a call below the limit gives %s", got)
			}
		}
	})
}

func FuzzBegin(f *testing.F) {
	for _, seed := range []string{`#["add",[1,2]]`, `#["echo",["$0"]]`, `#["urlOf",[{"a":"$0.Alleged: x","b":"&1"}]]`, `#["join",["-","a"]]`, `#["move",[{"x":1}]]`, `#["when",["2020-01-01T00:00:00Z"]]`, `#["big",["+5"]]`, `#["bytes",["YQ=="]]`, `#["forge",["$ref","ko4"]]`} {
		f.Add(seed, "ko4", "kp5")
	}
	o, err := service.New(zoo{}, service.Name("zoo"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body, slot0, slot1 string) {
		slots := []string{slot0, slot1}
		r := wait(t, begin(t.Context(), o, service.Call{MethArgs: service.Data{Body: body, Slots: slots}}))
		if _, err := capdata.Decode(r.Value.Body, len(r.Value.Slots)); err != nil {
			t.Errorf("the reply %q cannot be read: %v", r.Value.Body, err)
		}
		// No caller gets a reference from zoo that it did not pass (many, which makes some up, aside).
		if strings.Contains(body, "many") {
			return
		}
		for _, s := range r.Value.Slots {
			if s != slot0 && s != slot1 {
				t.Errorf("the reply refers to %q, which was not passed", s)
			}
		}
	})
}

// kiosk is closed by the kernel.
type kiosk struct{ closed int }

func (s *kiosk) Buy() string { return "sold" }

func (s *kiosk) Close() error {
	s.closed++
	return nil
}

// token has nothing but its end.
type token struct{}

func (token) Close() error { return nil }

// The Close of a value is for the kernel, and no vat can call it unless the author says so.
func TestValueIsClosedByTheKernelAlone(t *testing.T) {
	t.Parallel()
	s := &kiosk{}
	o := object(t, s)
	if got := show(t, call(t, o, "close", `[]`)); !strings.Contains(got, "no method") {
		t.Errorf("close: got %s", got)
	}
	if got := show(t, call(t, o, "buy", `[]`)); !strings.Contains(got, "sold") {
		t.Errorf("buy: got %s", got)
	}
	closer, ok := o.(io.Closer)
	if !ok || closer.Close() != nil || s.closed != 1 {
		t.Errorf("it can be closed: %t, and was %d times", ok, s.closed)
	}
	if _, ok := object(t, token{}).(io.Closer); !ok {
		t.Error("a token is not told of its end")
	}
	if _, ok := object(t, channels{}, service.Methods()).(io.Closer); ok {
		t.Error("a value without Close can be closed")
	}
	if got := show(t, call(t, object(t, s, service.Methods("close")), "close", `[]`)); strings.Contains(got, "no method") || s.closed != 2 {
		t.Errorf("a Close that callers may call: got %s, closed %d times", got, s.closed)
	}
}

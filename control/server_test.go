package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server for b until the test ends, and returns its directory.
func serve(t testing.TB, b control.Backend, o control.ServerOptions) string {
	t.Helper()
	dir := t.TempDir()
	stop := serveIn(t, dir, b, o)
	t.Cleanup(stop)
	return dir
}

func serveIn(t testing.TB, dir string, b control.Backend, o control.ServerOptions) (stop func()) {
	t.Helper()
	listener, err := control.Listen(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- control.NewServer(listener, b, o).Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("server: %v", err)
		}
	})
}

func dial(t testing.TB, dir string) *control.Client {
	t.Helper()
	client, err := control.Dial(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// rawConn is a connection without a client's manners.
type rawConn struct {
	*net.UnixConn
	in *bufio.Reader
	t  testing.TB
}

func dialRaw(t testing.TB, dir string) *rawConn {
	t.Helper()
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(dir, control.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &rawConn{conn, bufio.NewReader(conn), t}
}

func (c *rawConn) say(text string) {
	c.t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawConn) hear() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("got %q, %v, want a line", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (c *rawConn) hearEnd() {
	c.t.Helper()
	if rest, err := c.in.ReadString('\n'); err == nil || rest != "" {
		c.t.Fatalf("got %q, want the end of the connection", rest)
	}
}

// TestLines pins requests and their answers, byte by byte.
func TestLines(t *testing.T) {
	fake := controltest.New()
	c := dialRaw(t, serve(t, fake, control.ServerOptions{Version: "v0"}))
	for _, test := range []struct{ name, request, answer string }{
		{"version", `{"jsonrpc":"2.0","id":1,"method":"version"}`, `{"jsonrpc":"2.0","id":1,"result":{"version":"v0","protocol":1}}`},
		{"id is a string", `{"jsonrpc":"2.0","id":"a<b","method":"version","params":{}}`, `{"jsonrpc":"2.0","id":"a<b","result":{"version":"v0","protocol":1}}`},
		{"no params as a list", `{"jsonrpc":"2.0","id":-1.5,"method":"ps","params":[]}`, `{"jsonrpc":"2.0","id":-1.5,"result":{"vats":[]}}`},
		{"blank lines", "\n \r\n" + `{"jsonrpc":"2.0","id":1,"method":"version"}` + "\r", `{"jsonrpc":"2.0","id":1,"result":{"version":"v0","protocol":1}}`},
		{
			"launch of a text", `{"jsonrpc":"2.0","id":1,"method":"launchSubcluster","params":{"path":"/x/c.json","config":"{}"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"subcluster":"s1","root":"ko1","vats":{"root":"v1"},"source":"/x/c.json","hash":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","state":"running","result":{"$ref":"ko1"}}}`,
		},
		{
			"launch of an object", `{"jsonrpc":"2.0","id":1,"method":"launchSubcluster","params":{"config":{}}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"subcluster":"s2","root":"ko2","vats":{"root":"v2"},"source":"","hash":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","state":"running","result":{"$ref":"ko2"}}}`,
		},
		{
			"launch of nothing", `{"jsonrpc":"2.0","id":1,"method":"launchSubcluster","params":{"config":7}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"config must be the text of a configuration, or an object","data":{"code":"INVALID"}}}`,
		},
		{
			"a configuration with mistakes", `{"jsonrpc":"2.0","id":1,"method":"launchSubcluster","params":{"path":"c","config":"mistake"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"1 mistake in c","data":{"code":"INVALID","details":["c:1:1: bootstrap: there is a mistake"]}}}`,
		},
		{
			"call", `{"jsonrpc":"2.0","id":1,"method":"queueMessage","params":{"ticket":"a","target":"ko1","method":"echo","args":[1, {"$ref":"ko9"}, "<\u001b>"],"wait":true}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ticket":"e1.a","status":"fulfilled","value":[1,{"$ref":"ko9"},"<\u001b>"]}}`,
		},
		{
			"raw", `{"jsonrpc":"2.0","id":1,"method":"awaitTicket","params":{"ticket":"e1.a","raw":true}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ticket":"e1.a","status":"fulfilled","capdata":{"body":"#[1,\"$0\",\"<\\u001b>\"]","slots":["ko9"]}}}`,
		},
		{
			"rejection", `{"jsonrpc":"2.0","id":1,"method":"queueMessage","params":{"ticket":"b","target":"ko1","method":"revoked","wait":true}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ticket":"e1.b","status":"rejected","error":{"code":"REVOKED","message":"ko9 was revoked"}}}`,
		},
		{
			"pending", `{"jsonrpc":"2.0","id":1,"method":"queueMessage","params":{"ticket":"c","target":"ko1","method":"hang"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ticket":"e1.c","status":"pending"}}`,
		},
		{
			"pending after a wait", `{"jsonrpc":"2.0","id":1,"method":"awaitTicket","params":{"ticket":"c","timeoutMs":1}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ticket":"e1.c","status":"pending"}}`,
		},
		{
			"unknown ticket", `{"jsonrpc":"2.0","id":1,"method":"awaitTicket","params":{"ticket":"zz"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"there is no call zz","data":{"code":"UNKNOWN"}}}`,
		},
		{
			"bad ticket", `{"jsonrpc":"2.0","id":1,"method":"acknowledge","params":{"ticket":"a.b.c"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params: \"a.b.c\" is not a ticket: want EPOCH.ID or ID, each of 1 to 64 letters, digits, _ or -","data":{"code":"INVALID"}}}`,
		},
		{
			"no ticket", `{"jsonrpc":"2.0","id":1,"method":"queueMessage","params":{"target":"ko1","method":"echo"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"ticket is missing","data":{"code":"INVALID"}}}`,
		},
		{
			"negative timeout", `{"jsonrpc":"2.0","id":1,"method":"awaitTicket","params":{"ticket":"c","timeoutMs":-1}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"timeoutMs must be from 0 to 86400000","data":{"code":"INVALID"}}}`,
		},
		{"acknowledge", `{"jsonrpc":"2.0","id":1,"method":"acknowledge","params":{"ticket":"a"}}`, `{"jsonrpc":"2.0","id":1,"result":null}`},
		{"garbage", `hello`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON: one request is one JSON object on one line, in UTF-8","data":{"code":"INVALID"}}}`},
		{"not UTF-8", "{\"\xff\":1}", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON: one request is one JSON object on one line, in UTF-8","data":{"code":"INVALID"}}}`},
		{"deep", strings.Repeat("[", 100000), `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON: one request is one JSON object on one line, in UTF-8","data":{"code":"INVALID"}}}`},
		{"batch", `[{"jsonrpc":"2.0","id":1,"method":"version"}]`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"not a request: want a JSON object (batches are not supported)","data":{"code":"INVALID"}}}`},
		{"old version", `{"id":1,"method":"version"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"jsonrpc must be \"2.0\"","data":{"code":"INVALID"}}}`},
		{"no method", `{"jsonrpc":"2.0","id":1}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32600,"message":"method must be a string","data":{"code":"INVALID"}}}`},
		{"id is an object", `{"jsonrpc":"2.0","id":{},"method":"version"}`, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"id must be a string or a number of at most 128 bytes","data":{"code":"INVALID"}}}`},
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"executeDBQuery"}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"there is no method \"executeDBQuery\"","data":{"code":"UNSUPPORTED"}}}`},
		{"unknown param", `{"jsonrpc":"2.0","id":1,"method":"restartVat","params":{"id":"v1","force":true}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params: json: unknown field \"force\"","data":{"code":"INVALID"}}}`},
		{"params in a list", `{"jsonrpc":"2.0","id":1,"method":"restartVat","params":["v1"]}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params: want an object with named members","data":{"code":"INVALID"}}}`},
		{"bad vat", `{"jsonrpc":"2.0","id":1,"method":"restartVat","params":{"id":"v01"}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"\"v01\" is no vat: want an id such as v1, or a name such as mint or s1/mint","data":{"code":"INVALID"}}}`},
		{"bad poisoned", `{"jsonrpc":"2.0","id":1,"method":"poisonedDrop","params":{"id":"../x"}}`, `{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"\"../x\" is not the id of a poisoned message","data":{"code":"INVALID"}}}`},
		{
			"channels", `{"jsonrpc":"2.0","id":1,"method":"ioList"}`,
			`{"jsonrpc":"2.0","id":1,"result":{"channels":[]}}`,
		},
		{
			"services", `{"jsonrpc":"2.0","id":1,"method":"services"}`,
			`{"jsonrpc":"2.0","id":1,"result":{"services":[{"name":"kernelFacet","ref":"ko901","systemOnly":true,"registered":true,"pending":0,"queued":0},{"name":"ticker","ref":"ko902","systemOnly":false,"registered":false,"pending":0,"queued":3}]}}`,
		},
		{"system subclusters", `{"jsonrpc":"2.0","id":1,"method":"systemList","params":{}}`, `{"jsonrpc":"2.0","id":1,"result":{"systems":[]}}`},
		{
			"inspection of an object", `{"jsonrpc":"2.0","id":1,"method":"inspect","params":{"kref":"ko1"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ref":"ko1","kind":"object","owner":"v1","ownerName":"root","revoked":false,"reachable":1,"recognizable":1,"holders":[{"vat":"v1","name":"root","vref":"o+0","reachable":true}],"subscribers":[],"parked":0}}`,
		},
		{
			"inspection of a promise", `{"jsonrpc":"2.0","id":1,"method":"inspect","params":{"kref":"kp1"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"ref":"kp1","kind":"promise","state":"fulfilled","revoked":false,"reachable":1,"recognizable":1,"holders":[],"subscribers":[],"parked":0,"value":[1,{"$ref":"ko9"},"<\u001b>"]}}`,
		},
		{
			"inspection of nothing", `{"jsonrpc":"2.0","id":1,"method":"inspect","params":{"kref":"ko77"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"there is no ko77","data":{"code":"NOT_FOUND"}}}`,
		},
		{
			"bad kref", `{"jsonrpc":"2.0","id":1,"method":"inspect","params":{"kref":"o+1"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"\"o+1\" is not an object, such as ko4, or a promise, such as kp7","data":{"code":"INVALID"}}}`,
		},
		{"revoke", `{"jsonrpc":"2.0","id":1,"method":"revoke","params":{"kref":"ko1"}}`, `{"jsonrpc":"2.0","id":1,"result":null}`},
		{"is revoked", `{"jsonrpc":"2.0","id":1,"method":"isRevoked","params":{"kref":"ko1"}}`, `{"jsonrpc":"2.0","id":1,"result":true}`},
		{"is not revoked", `{"jsonrpc":"2.0","id":1,"method":"isRevoked","params":{"kref":"ko2"}}`, `{"jsonrpc":"2.0","id":1,"result":false}`},
		{
			"revoke a promise", `{"jsonrpc":"2.0","id":1,"method":"revoke","params":{"kref":"kp1"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"cannot revoke promise kp1: revoke the object that it stands for","data":{"code":"INVALID"}}}`,
		},
		{"ping", `{"jsonrpc":"2.0","id":1,"method":"pingVat","params":{"id":"v1"}}`, `{"jsonrpc":"2.0","id":1,"result":"pong"}`},
		{
			"reload", `{"jsonrpc":"2.0","id":1,"method":"reloadSubcluster","params":{"id":"s2"}}`,
			`{"jsonrpc":"2.0","id":1,"result":{"subclusters":[{"subcluster":"s3","root":"ko3","vats":{"root":"v3"},"source":"","hash":"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","state":"running"}]}}`,
		},
		{
			"bad reload", `{"jsonrpc":"2.0","id":1,"method":"reloadSubcluster","params":{"id":"a/b"}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"\"a/b\" is no subcluster: want an id such as s1, or the name of a system subcluster","data":{"code":"INVALID"}}}`,
		},
		{
			"reload without a name", `{"jsonrpc":"2.0","id":1,"method":"reloadSubcluster","params":{}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"id is missing: name a subcluster, or say \"all\": true","data":{"code":"INVALID"}}}`,
		},
		{
			"reload with an empty name", `{"jsonrpc":"2.0","id":1,"method":"reloadSubcluster","params":{"id":""}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"id is missing: name a subcluster, or say \"all\": true","data":{"code":"INVALID"}}}`,
		},
		{
			"reload without params", `{"jsonrpc":"2.0","id":1,"method":"reloadSubcluster"}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"id is missing: name a subcluster, or say \"all\": true","data":{"code":"INVALID"}}}`,
		},
		{
			"reload one and all", `{"jsonrpc":"2.0","id":1,"method":"reloadSubcluster","params":{"id":"s2","all":true}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"id and all are given: one of them is enough","data":{"code":"INVALID"}}}`,
		},
		{"terminate a vat", `{"jsonrpc":"2.0","id":1,"method":"terminateVat","params":{"id":"v3"}}`, `{"jsonrpc":"2.0","id":1,"result":null}`},
		{"terminate all vats", `{"jsonrpc":"2.0","id":1,"method":"terminateAllVats","params":[]}`, `{"jsonrpc":"2.0","id":1,"result":null}`},
		{"no vats are left", `{"jsonrpc":"2.0","id":1,"method":"ps"}`, `{"jsonrpc":"2.0","id":1,"result":{"vats":[]}}`},
		{"collect", `{"jsonrpc":"2.0","id":1,"method":"collectGarbage","params":[]}`, `{"jsonrpc":"2.0","id":1,"result":{"asked":[],"busy":[]}}`},
		{"clear", `{"jsonrpc":"2.0","id":1,"method":"clearState","params":[]}`, `{"jsonrpc":"2.0","id":1,"result":null}`},
		{
			"params where there are none", `{"jsonrpc":"2.0","id":1,"method":"clearState","params":{"yes":true}}`,
			`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Invalid params: json: unknown field \"yes\"","data":{"code":"INVALID"}}}`,
		},
		{
			"a notification has no answer", `{"jsonrpc":"2.0","method":"ps"}` + "\n" + `{"jsonrpc":"2.0","id":2,"method":"version"}`,
			`{"jsonrpc":"2.0","id":2,"result":{"version":"v0","protocol":1}}`,
		},
		{"shutdown", `{"jsonrpc":"2.0","id":1,"method":"shutdown","params":[]}`, `{"jsonrpc":"2.0","id":1,"result":{"status":"shutting down"}}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.t = t
			c.say(test.request + "\n")
			if diff := cmp.Diff(test.answer, c.hear()); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// Some clients make a connection for each request, others keep one.
func TestOneRequestPerConnectionOrMany(t *testing.T) {
	dir := serve(t, controltest.New(), control.ServerOptions{})
	request, answer := `{"jsonrpc":"2.0","id":1,"method":"ps"}`+"\n", `{"jsonrpc":"2.0","id":1,"result":{"vats":[]}}`
	for range 2 * control.MaxConns { // each gives back its resources
		c := dialRaw(t, dir)
		c.say(request)
		check(t, "one on a connection", c.hear(), nil, answer)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	c := dialRaw(t, dir)
	for range 100 {
		c.say(request)
		check(t, "one after the other", c.hear(), nil, answer)
	}
	c.say(strings.Repeat(request, 2*control.MaxInFlight))
	for range 2 * control.MaxInFlight {
		check(t, "all at once", c.hear(), nil, answer)
	}
}

func TestLineTooLong(t *testing.T) {
	dir := serve(t, controltest.New(), control.ServerOptions{MaxLineBytes: 1000})
	c := dialRaw(t, dir)
	c.say(`{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("x", 2000))
	if got := c.hear(); !strings.Contains(got, "a request is longer than 1000 bytes") {
		t.Errorf("got %s, want it to name the bound", got)
	}
	c.hearEnd()
	if _, err := dial(t, dir).Status(context.Background()); err != nil {
		t.Errorf("the next client: %v", err)
	}
}

// A client that sends and never reads must not cost more than its own connection.
func TestClientThatDoesNotRead(t *testing.T) {
	dir := serve(t, controltest.New(), control.ServerOptions{WriteTimeout: 50 * time.Millisecond})
	c := dialRaw(t, dir)
	argument := `"` + strings.Repeat("x", 100_000) + `"`
	for i := range 100 {
		line := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"queueMessage","params":{"ticket":"t%d","target":"ko1","method":"echo","args":[%s],"wait":true}}`+"\n", i, i, argument)
		if _, err := c.Write([]byte(line)); err != nil {
			break // it has hung up
		}
	}
	if _, err := dial(t, dir).Status(context.Background()); err != nil {
		t.Errorf("the next client: %v", err)
	}
	// Requests on their way arrive, then the connection ends.
	if _, err := c.in.WriteTo(new(bytes.Buffer)); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("got %v, want the end of the connection", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	fake := controltest.New()
	dir := serve(t, fake, control.ServerOptions{})
	shared := dial(t, dir)
	var clients sync.WaitGroup
	for i := range 16 {
		client := shared
		if i%2 == 0 {
			client = dial(t, dir)
		}
		clients.Go(func() {
			for j := range 50 {
				arg := json.RawMessage(fmt.Sprintf(`"%d.%d"`, i, j))
				o, err := client.Send(context.Background(), control.SendRequest{Target: "ko1", Method: "echo", Args: []json.RawMessage{arg}, Wait: true})
				if err != nil || string(o.Value) != "["+string(arg)+"]" {
					t.Errorf("got %+v, %v, want %s", o, err, arg)
					return
				}
			}
		})
	}
	clients.Wait()
	if got := fake.Effects(); got != 16*50 {
		t.Errorf("got %d calls, want %d", got, 16*50)
	}
}

// One call that waits holds up no other on the same connection, until there are too many.
func TestWaitingHoldsUpNobody(t *testing.T) {
	fake := controltest.New()
	dir := serve(t, fake, control.ServerOptions{MaxInFlight: 2})
	c := dialRaw(t, dir)
	hang := `{"jsonrpc":"2.0","id":"%s","method":"queueMessage","params":{"ticket":"%[1]s","target":"ko1","method":"hang","wait":true}}` + "\n"
	c.say(fmt.Sprintf(hang, "a"))
	c.say(`{"jsonrpc":"2.0","id":"v","method":"version"}` + "\n")
	if got := c.hear(); !strings.Contains(got, `"id":"v"`) {
		t.Fatalf("got %s, want the version", got)
	}
	c.say(fmt.Sprintf(hang, "b"))
	c.say(`{"jsonrpc":"2.0","id":"w","method":"version"}` + "\n") // not read before one of the others is through
	for other := dial(t, dir); fake.Effects() < 2; {
		if _, err := other.Status(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	fake.Release()
	for range 2 {
		if got := c.hear(); !strings.Contains(got, `"fulfilled"`) && !strings.Contains(got, `"id":"w"`) {
			t.Errorf("got %s, want an answer of hang", got)
		}
	}
}

// A connection on which a request is under way keeps its place, and one more is refused.
func TestTooManyConnections(t *testing.T) {
	fake := controltest.New()
	dir := serve(t, fake, control.ServerOptions{MaxConns: 1})
	first := dialRaw(t, dir)
	first.say(`{"jsonrpc":"2.0","id":"a","method":"queueMessage","params":{"ticket":"a","target":"ko1","method":"hang","wait":true}}` + "\n")
	for fake.Effects() < 1 {
		runtime.Gosched()
	}
	_, err := dial(t, dir).Status(context.Background())
	if control.CodeOf(err) != errcode.Limit {
		t.Errorf("got %v, want LIMIT", err)
	}
	fake.Release()
	if got := first.hear(); !strings.Contains(got, `"fulfilled"`) {
		t.Errorf("got %s, want the answer of hang", got)
	}
}

// Idle connections keep no client out: the one that was idle the longest makes place.
func TestIdleConnectionsMakePlace(t *testing.T) {
	dir := serve(t, controltest.New(), control.ServerOptions{MaxConns: 3})
	var idle []*control.Client
	for range 3 {
		c := dial(t, dir)
		if _, err := c.Status(context.Background()); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	if _, err := idle[0].Status(context.Background()); err != nil { // so that the second one is idle the longest
		t.Fatal(err)
	}
	if _, err := dial(t, dir).Status(context.Background()); err != nil {
		t.Errorf("a person who wants to look: %v", err)
	}
	for i, open := range []bool{true, false, true} {
		if _, err := idle[i].Status(context.Background()); (err == nil) != open {
			t.Errorf("connection %d: got %v, want it open: %v", i, err, open)
		}
	}
}

// Where there is no descriptor for a connection, an idle one gives one back.
func TestNoDescriptorForAConnection(t *testing.T) {
	var short atomic.Bool
	dir := serve(t, controltest.New(), control.ServerOptions{Allow: func() bool { return !short.Load() }})
	idle := dial(t, dir)
	if _, err := idle.Status(context.Background()); err != nil {
		t.Fatal(err)
	}
	short.Store(true)
	for range 2 { // the server may have asked before, for the next connection
		if _, err := dial(t, dir).Status(context.Background()); err != nil {
			t.Errorf("a person who wants to look: %v", err)
		}
	}
	if _, err := idle.Status(context.Background()); err == nil {
		t.Error("the idle connection was kept")
	}
}

// A connection has time for its first request, however short of descriptors the kernel is.
func TestNoFreshConnectionMakesPlace(t *testing.T) {
	dir := serve(t, controltest.New(), control.ServerOptions{Allow: func() bool { return false }})
	for range 200 {
		c := dial(t, dir)
		if _, err := c.Status(context.Background()); err != nil {
			t.Fatal(err)
		}
		_ = c.Close() // so that the next one is alone
	}
}

// waiter tells when an Await begins and how it ends.
type waiter struct {
	*controltest.Fake
	began, ended chan struct{}
}

func newWaiter() *waiter {
	return &waiter{controltest.New(), make(chan struct{}, 1), make(chan struct{}, 1)}
}

func (w *waiter) Await(ctx context.Context, t control.Ticket) (control.Answer, error) {
	w.began <- struct{}{}
	defer func() { w.ended <- struct{}{} }()
	return w.Fake.Await(ctx, t)
}

// A peer that has finished writing still gets its answers: printf … | nc -U kernel.sock.
func TestHalfClosedConnectionIsAnswered(t *testing.T) {
	w := newWaiter()
	c := dialRaw(t, serve(t, w, control.ServerOptions{}))
	c.say(`{"jsonrpc":"2.0","id":1,"method":"queueMessage","params":{"ticket":"a","target":"ko1","method":"hang"}}` + "\n")
	c.hear()
	c.say(`{"jsonrpc":"2.0","id":2,"method":"awaitTicket","params":{"ticket":"a"}}`) // without a newline
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	<-w.began
	w.Release()
	if got, want := c.hear(), `{"jsonrpc":"2.0","id":2,"result":{"ticket":"e1.a","status":"fulfilled","value":null}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c.hearEnd()
	<-w.ended
}

// The server does not wait on behalf of a peer that is gone, also if it closed in two steps.
func TestClosedConnectionEndsWaiting(t *testing.T) {
	for _, half := range []bool{false, true} {
		w := newWaiter()
		c := dialRaw(t, serve(t, w, control.ServerOptions{}))
		c.say(`{"jsonrpc":"2.0","id":1,"method":"queueMessage","params":{"ticket":"a","target":"ko1","method":"hang"}}` + "\n")
		c.hear()
		c.say(`{"jsonrpc":"2.0","id":2,"method":"awaitTicket","params":{"ticket":"a"}}` + "\n")
		<-w.began
		if half {
			_ = c.CloseWrite()
		}
		_ = c.Close()
		<-w.ended
	}
}

func TestStopEndsWaiting(t *testing.T) {
	w := newWaiter()
	dir := t.TempDir()
	stop := serveIn(t, dir, w, control.ServerOptions{})
	client := dial(t, dir)
	ctx := context.Background()
	o, err := client.Send(ctx, control.SendRequest{Target: "ko1", Method: "hang"})
	if err != nil || o.Status != control.Pending {
		t.Fatalf("got %+v, %v, want pending", o, err)
	}
	failed := make(chan error)
	go func() {
		_, err := client.Await(ctx, o.Ticket, 0, false)
		failed <- err
	}()
	<-w.began
	stop()
	if err := <-failed; control.CodeOf(err) != errcode.Stopping {
		t.Errorf("got %v, want STOPPING", err)
	}
	<-client.Done()
	if _, err := client.Status(ctx); control.CodeOf(err) != errcode.NotRunning {
		t.Errorf("got %v, want NOT_RUNNING", err)
	}
	if _, err := control.Dial(ctx, dir); control.CodeOf(err) != errcode.NotRunning {
		t.Errorf("got %v, want NOT_RUNNING", err)
	}
}

package service_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ocapkernel.dev/service"
)

// fits makes a call at a bound, which has to be fulfilled, and one beyond it, which has to be rejected with LIMIT or a text.
func fits(t *testing.T, o service.Object, method, most, more, want string) {
	t.Helper()
	if r := call(t, o, method, most); r.Rejected {
		t.Errorf("%s(%.80s): %.200s, want it to fit", method, most, show(t, r))
	}
	if got := show(t, call(t, o, method, more)); !strings.HasPrefix(got, "rejected") || !strings.Contains(got, want) {
		t.Errorf("%s(%.80s): got %.200s, want a rejection with %q", method, more, got, want)
	}
}

func x(n int) string { return strings.Repeat("x", n) }

func TestResultsFillTheirBounds(t *testing.T) {
	o := object(t, zoo{}, service.Name("zoo"))
	fits(t, o, "long", `[1048573]`, `[1048574]`, "1048577 bytes, above the limit of 1048576")
	fits(t, o, "many", `[1000]`, `[1001]`, "more than the limit of 1000 references")
	// The last of the references may be there already.
	if got := show(t, service.Fulfil([]service.Ref{service.NewRef(63), service.NewRef(0), service.NewRef(63)})); got != `[{"$ref":"new63"},{"$ref":"new0"},{"$ref":"new63"}]` {
		t.Errorf("got %s", got)
	}
	for _, i := range []int{-1, 64} {
		if r := service.Fulfil(service.NewRef(i)); !r.Rejected {
			t.Errorf("a reference to export %d is %+v", i, r)
		}
	}
	if got := show(t, service.Fail(errors.New(x(4096)))); got != "rejected Error: "+x(4096) {
		t.Errorf("an error of 4096 bytes is %d bytes", len(got))
	}
	if got := show(t, service.Fail(errors.New(x(4095)+"é"))); got != "rejected Error: "+x(4095)+"…" {
		t.Errorf("an error of a character too much ends in %q", got[len(got)-8:])
	}
}

// sealed exports objects of a kind and a configuration of any size.
type sealed struct{}

func (sealed) Make(ctx context.Context, kind, config int) (service.Ref, error) {
	return service.ExportObject(ctx, &item{}, service.Restorable(x(kind), []byte(x(config))))
}

func TestExportsFillTheirBounds(t *testing.T) {
	o := object(t, sealed{})
	fits(t, o, "make", `[64, 65536]`, `[65, 65536]`, "Restorable wants a kind of 1 to 64 bytes and a configuration of at most 65536 bytes")
	fits(t, o, "make", `[1, 0]`, `[64, 65537]`, "Restorable wants")
	fits(t, o, "make", `[0, 0]`, `[0, 1]`, "Restorable wants")
}

func TestFilesFillTheirBounds(t *testing.T) {
	o, root := openFiles(t, false)
	write := func(method string, n int) string { return fmt.Sprintf(`[%q, %q]`, method, x(n)) }
	for _, method := range []string{"writeFile", "appendFile"} {
		fits(t, o, method, write("a", 1<<20), write("b", 1<<20+1), "above the limit of 1048576 for one call")
	}
	put(t, filepath.Join(root, "large"), "")
	if err := os.Truncate(filepath.Join(root, "large"), 64<<20-3); err != nil {
		t.Fatal(err)
	}
	fits(t, o, "appendFile", write("large", 3), write("large", 1), "the file would be larger than 67108864 bytes")
	if info, err := os.Stat(filepath.Join(root, "large")); err != nil || info.Size() != 64<<20 {
		t.Errorf("it is %v, %v", info, err)
	}
	put(t, filepath.Join(root, "bytes"), x(750_000))
	fits(t, o, "readBytes", `["bytes"]`, `["bytes", 0, 750001]`, "want 0 to 750000")
	fits(t, o, "readBytes", `["bytes", 0, 0]`, `["bytes", 0, -1]`, "length -1: want 0 to 750000")
	path := strings.Repeat("d/", 499)
	fits(t, o, "stat", fmt.Sprintf(`[%q]`, path+"ee"), fmt.Sprintf(`[%q]`, path+"eee"), "a path of 1001 bytes, above the limit of 1000")
	if err := os.Mkdir(filepath.Join(root, "many"), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		put(t, filepath.Join(root, "many", fmt.Sprint(i)), "")
	}
	if got := value[[]any](t, call(t, o, "list", `["many"]`)); len(got) != 1000 {
		t.Errorf("list gives %d entries of 1000", len(got))
	}
}

func TestFetchFillsItsBounds(t *testing.T) {
	s := site(t)
	o := newFetch(t, service.FetchOptions{Hosts: []string{s.Listener.Addr().String()}})
	get := func(path string) string { return fmt.Sprintf(`[%q]`, s.URL+path) }
	with := func(options string) string { return fmt.Sprintf(`[%q, %s]`, s.URL+"/echo", options) }
	long := "/echo?" + x(8<<10-len(s.URL)-len("/echo?"))
	fits(t, o, "get", get(long), get(long+"x"), "a URL of 8193 bytes, above the limit of 8192")
	fits(t, o, "get", get("/large?n=1000000"), get("/large?n=1000001"), "more than 1000000 bytes")
	post := func(n int) string { return with(fmt.Sprintf(`{"method": "POST", "body": %q}`, x(n))) }
	s.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}) // an echo would be too long for an answer
	fits(t, o, "fetch", post(1<<20), post(1<<20+1), "above the limit of 1048576")
	header := func(n int) string { return with(fmt.Sprintf(`{"headers": {"ab": %q}}`, x(n))) }
	fits(t, o, "fetch", header(16<<10-2), header(16<<10-1), "headers of more than 16384 bytes")
	headers := func(n int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(`"x-%d": ""`, i))
		}
		return with(`{"headers": {` + strings.Join(list, ", ") + `}}`)
	}
	fits(t, o, "fetch", headers(64), headers(65), "65 headers, above the limit of 64")
	hosts := strings.Split(strings.Repeat("a ", 1001), " ")[:1001]
	if err := o.SetHosts(hosts[:1000]); err != nil {
		t.Error(err)
	}
	if err := o.SetHosts(hosts); err == nil || !strings.Contains(err.Error(), "1001 hosts: want 1 to 1000") {
		t.Errorf("1001 hosts: got %v", err)
	}
}

// The headers of a request are what the vat asks for, and the name of the service where it asks for none.
func TestTheHeadersOfARequest(t *testing.T) {
	var got http.Header
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Clone()
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(s.Close)
	o := newFetch(t, service.FetchOptions{Hosts: []string{s.Listener.Addr().String()}})
	for options, want := range map[string][2]string{
		`{}`: {"ocapkernel", ""},
		`{"headers": {"user-agent": "me/1.0", "x-tab": "a\tb"}}`: {"me/1.0", "a\tb"},
	} {
		if r := call(t, o, "get", fmt.Sprintf(`[%q, %s]`, s.URL, options)); r.Rejected {
			t.Error(show(t, r))
		}
		if got.Get("User-Agent") != want[0] || got.Get("X-Tab") != want[1] {
			t.Errorf("%s: the request has the headers %v", options, got)
		}
	}
	for _, value := range []string{`a\u0000`, `a\u001f`, `a\u007f`, `\n`} {
		if got := show(t, call(t, o, "get", fmt.Sprintf(`[%q, {"headers": {"a": "%s"}}]`, s.URL, value))); !strings.Contains(got, "control character") {
			t.Errorf("a header %s gives %s", value, got)
		}
	}
	for _, name := range []string{"", "a:", "é", "a{", "[a"} {
		if got := show(t, call(t, o, "get", fmt.Sprintf(`[%q, {"headers": {%q: "a"}}]`, s.URL, name))); !strings.Contains(got, "is no name of a header") {
			t.Errorf("a header called %q gives %s", name, got)
		}
	}
	for _, name := range []string{"az", "AZ", "09", "!#$%&'*+-.^_`|~"} {
		if r := call(t, o, "get", fmt.Sprintf(`[%q, {"headers": {%q: "a"}}]`, s.URL, name)); r.Rejected {
			t.Errorf("a header called %q gives %s", name, show(t, r))
		}
	}
}

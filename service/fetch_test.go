package service_test

import (
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"ocapkernel.dev/service"
)

// site serves on loopback, in the manner of a small web site.
func site(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a fault shows in the echo
		w.Header().Set("X-Two", "a")
		w.Header().Add("X-Two", "b")
		w.Header().Add("Set-Cookie", "a=1, 2")
		w.Header().Add("Set-Cookie", "b=2")
		w.Header().Set("$ref", "ko5")
		fmt.Fprintf(w, "%s %s %s %s cookie=%s", r.Method, r.URL.RequestURI(), r.Header.Get("X-Ask"), body, r.Header.Get("Cookie"))
	})
	mux.HandleFunc("/binary", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte{1, 0xff}) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		io.WriteString(w, strings.Repeat("x", n))
	})
	mux.HandleFunc("/missing", http.NotFound)
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("u"), http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/hops", func(w http.ResponseWriter, r *http.Request) {
		var n int
		fmt.Sscan(r.URL.Query().Get("n"), &n)
		if n == 0 {
			io.WriteString(w, "there")
			return
		}
		http.Redirect(w, r, fmt.Sprint("/hops?n=", n-1), http.StatusFound)
	})
	mux.HandleFunc("/headers", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 100_000))
	})
	mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func newFetch(t *testing.T, o service.FetchOptions) *service.Fetch {
	t.Helper()
	f, err := service.NewFetch(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

type got struct {
	Status  int
	Headers map[string]string
	Body    string
}

func TestFetch(t *testing.T) {
	s := site(t)
	o := newFetch(t, service.FetchOptions{Hosts: []string{s.Listener.Addr().String()}})
	for _, test := range []struct {
		method, path, options string
		status                int
		body                  string
	}{
		{"fetch", "/echo?q=1", ``, 200, "GET /echo?q=1   cookie="},
		{"fetch", "/echo", `, {"headers": {"x-ask": "please"}}`, 200, "GET /echo please  cookie="},
		{"fetch", "/echo", `, {"method": "post", "body": "hello"}`, 200, "POST /echo  hello cookie="},
		{"fetch", "/echo", `, {"method": "PUT", "bodyBytes": "aGk="}`, 200, "PUT /echo  hi cookie="},
		{"fetch", "/echo", `, null`, 200, "GET /echo   cookie="},
		{"get", "/echo", `, {"$undefined":true}`, 200, "GET /echo   cookie="},
		{"get", "/echo", ``, 200, "GET /echo   cookie="},
		{"get", "/echo", `, {"method": "get"}`, 200, "GET /echo   cookie="},
		{"head", "/echo", ``, 200, ""},
		{"get", "/binary", `, {"bytes": true}`, 200, "Af8="},
		{"get", "/missing", ``, 404, "404 page not found\n"},
		{"get", "/hops?n=5", ``, 200, "there"},
		{"get", "/to?u=/echo", ``, 200, "GET /echo   cookie="},
		{"fetch", "/to?u=/echo", `, {"method": "POST", "body": "again"}`, 200, "POST /echo  again cookie="},
	} {
		r := call(t, o, test.method, fmt.Sprintf(`[%q%s]`, s.URL+test.path, test.options))
		if r.Rejected {
			t.Errorf("%s %s: %s", test.method, test.path, show(t, r))
			continue
		}
		if a := value[got](t, r); a.Status != test.status || a.Body != test.body {
			t.Errorf("%s %s: got %d %q, want %d %q", test.method, test.path, a.Status, a.Body, test.status, test.body)
		}
	}
	a := value[got](t, call(t, o, "get", fmt.Sprintf(`[%q]`, s.URL+"/echo")))
	if a.Headers["x-two"] != "a, b" || a.Headers["set-cookie"] != "a=1, 2\nb=2" || !strings.HasPrefix(a.Headers["content-type"], "text/plain") {
		t.Errorf("headers are %q", a.Headers)
	}
	// A server cannot make up a reference.
	r := call(t, o, "get", fmt.Sprintf(`[%q]`, s.URL+"/echo"))
	if len(r.Value.Slots) > 0 || !strings.Contains(r.Value.Body, `$ref":"ko5"`) {
		t.Errorf("a header $ref gives %s with slots %v", r.Value.Body, r.Value.Slots)
	}
}

func TestFetchRefuses(t *testing.T) {
	s := site(t)
	here := s.Listener.Addr().String()
	o := newFetch(t, service.FetchOptions{Hosts: []string{here, "*.example.com"}})
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a host was reached that is not allowed") }))
	defer other.Close()
	at := func(path string) string { return fmt.Sprintf("%q", s.URL+path) }
	only := func(path string) string { return "[" + at(path) + "]" }
	for _, test := range []struct{ method, args, want string }{
		{"fetch", fmt.Sprintf(`[%q]`, other.URL), `fetch: host "` + other.Listener.Addr().String() + `" is not among those`},
		{"get", only("/to?u=" + url.QueryEscape(other.URL)), `redirected: host`},
		{"get", only("/to?u=" + url.QueryEscape("file:///etc/passwd")), `redirected: scheme "file"`},
		{"get", only("/to?u=" + url.QueryEscape("http://a:b@"+here+"/echo")), `redirected: no name and password`},
		{"get", only("/hops?n=6"), `more than 5 redirections`},
		{"get", `["ftp://` + here + `/"]`, `scheme "ftp": want http or https`},
		{"get", `["file:///etc/passwd"]`, `scheme "file": want http or https`},
		{"get", `["` + here + `/echo"]`, `is no URL`},
		{"get", `["/echo"]`, `scheme "": want http or https`},
		{"get", `["http://a:b@` + here + `/echo"]`, `no name and password in a URL`},
		{"get", `["https://example.com/"]`, `host "example.com" is not among those`},
		{"get", `["https://a.example.com:8443/"]`, `host "a.example.com:8443" is not among those`},
		{"get", `["https://.example.com/"]`, `host ".example.com" is not among those`},
		{"get", `["https://example.com.evil.net/"]`, `is not among those`},
		{"get", `["https://evil.net\\.example.com/"]`, `is no URL`},
		{"get", `["https://evil.net%2f.example.com/"]`, `is no URL`},
		{"get", `["https://ä.example.com/"]`, `is not among those`},
		{"get", `["https://a.example.com./"]`, `is not among those`},
		{"get", fmt.Sprintf(`["http://%s/%s"]`, here, strings.Repeat("x", 8<<10)), `above the limit of 8192`},
		{"get", only("/binary"), `byte 1 of the body is not UTF-8; ask for base64 with {bytes: true}`},
		{"get", only("/large?n=1000001"), `[KERNEL:LIMIT] fetch ` + here + `: the body has more than 1000000 bytes`},
		{"get", `[` + at("/large?n=750001") + `, {"bytes": true}]`, `[KERNEL:LIMIT] fetch ` + here + `: the body has more than 750000 bytes`},
		{"get", only("/headers"), `exceeded`},
		{"get", `[` + at("/echo") + `, {"method": "POST"}]`, `fetch.get: method "POST": use fetch(url, options)`},
		{"get", `[` + at("/echo") + `, {"body": "x"}]`, `method GET has no body`},
		{"get", `[` + at("/echo") + `, {}, {}]`, `fetch.get: got 3 arguments, want get(url, options)`},
		{"fetch", `[` + at("/echo") + `, 1]`, `argument 2: got number, want {method string, headers map[string]string, body string, bodyBytes []byte, bytes bool}; it takes fetch(string, ...{method`},
		{"fetch", `[` + at("/echo") + `, {"method": "CONNECT"}]`, `method "CONNECT": want one of GET, HEAD`},
		{"fetch", `[` + at("/echo") + `, {"method": "POST", "body": "x", "bodyBytes": "eA=="}]`, `body and bodyBytes: want one of them`},
		{"fetch", fmt.Sprintf(`[%s, {"method": "POST", "body": %q}]`, at("/echo"), strings.Repeat("x", 1<<20+1)), `[KERNEL:LIMIT] fetch: a body of 1048577 bytes`},
		{"fetch", `[` + at("/echo") + `, {"headers": {"a b": "x"}}]`, `header "a b" is no name of a header`},
		{"fetch", `[` + at("/echo") + `, {"headers": {"a": "x\r\nb: y"}}]`, `header "a" has a control character`},
		{"fetch", `[` + at("/echo") + `, {"headers": {"a": "x", "A": "y"}}]`, `header "a" is given twice`},
		{"fetch", `[` + at("/echo") + `, {"headers": {"host": "x"}}]`, `header "host" is set by the service itself`},
		{"fetch", fmt.Sprintf(`[%s, {"headers": {"a": %q}}]`, at("/echo"), strings.Repeat("x", 16<<10)), `headers of more than 16384 bytes`},
		{"fetch", `[` + at("/echo") + `, {"headers": {"a": 1}}]`, `field "headers`},
	} {
		if got := show(t, call(t, o, test.method, test.args)); !strings.HasPrefix(got, "rejected") || !strings.Contains(got, test.want) {
			t.Errorf("%s(%.100s): got %.300s, want a rejection with %s", test.method, test.args, got, test.want)
		}
	}
}

func TestFetchHasADeadline(t *testing.T) {
	s := site(t)
	o := newFetch(t, service.FetchOptions{Hosts: []string{s.Listener.Addr().String()}, Timeout: 50 * time.Millisecond})
	if got := show(t, call(t, o, "get", fmt.Sprintf(`[%q]`, s.URL+"/slow"))); !strings.Contains(got, "no complete answer within 50ms") {
		t.Errorf("got %s", got)
	}
}

func TestFetchUsesNoProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	defer proxy.Close()
	t.Setenv("HTTP_PROXY", proxy.URL)
	t.Setenv("http_proxy", proxy.URL)
	o := newFetch(t, service.FetchOptions{Hosts: []string{"nowhere.invalid"}})
	if got := show(t, call(t, o, "get", `["http://nowhere.invalid/"]`)); !strings.HasPrefix(got, "rejected Error: fetch nowhere.invalid: ") {
		t.Errorf("got %s", got)
	}
}

func TestFetchOverTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that fails below
	s.StartTLS()
	defer s.Close()
	known := x509.NewCertPool()
	known.AddCert(s.Certificate())
	hosts := []string{s.Listener.Addr().String()}
	link := fmt.Sprintf(`[%q]`, s.URL)
	if got := value[got](t, call(t, newFetch(t, service.FetchOptions{Hosts: hosts, RootCAs: known}), "get", link)); !strings.HasPrefix(got.Body, "HTTP/") {
		t.Errorf("got %v", got)
	}
	if got := show(t, call(t, newFetch(t, service.FetchOptions{Hosts: hosts, RootCAs: x509.NewCertPool()}), "get", link)); !strings.Contains(got, "certificate") {
		t.Errorf("a server that is not known gives %s", got)
	}
}

func TestFetchHosts(t *testing.T) {
	for host, ok := range map[string]bool{
		"example.com": true, "EXAMPLE.com": true, "example.com:8080": true, "*.example.com": true, "*.example.com:1": true, "127.0.0.1": true,
		"[::1]": true, "[::1]:80": true, "localhost": true, "xn--4ca.example": true, "a:1": true, "a:65535": true, "az-09_.z": true,
		"": false, "*": false, "*.": false, "a.*.com": false, "http://a": false, "a/b": false, "a:": false, "a:0": false, "a:65536": false, "a:x": false,
		"a@b": false, "::1": false, "ä.example": false, "a b": false, "a?b": false, "a#b": false, "*.[::1]": false, "a:080": false, "a%41": false,
	} {
		f, err := service.NewFetch(service.FetchOptions{Hosts: []string{host}})
		if (err == nil) != ok {
			t.Errorf("%q: got error %v, want it allowed: %v", host, err, ok)
		}
		if err == nil {
			_ = f.Close() // never fails
		}
	}
	if _, err := service.NewFetch(service.FetchOptions{}); err == nil || !strings.Contains(err.Error(), "want 1 to 1000") {
		t.Errorf("without hosts: got error %v", err)
	}
}

func TestFetchesThatAreDoneAgain(t *testing.T) {
	o := newFetch(t, service.FetchOptions{Hosts: []string{"a"}})
	if !o.Idempotent("get") || !o.Idempotent("head") || o.Idempotent("fetch") {
		t.Error("get and head are idempotent, and fetch is not")
	}
}

func TestAFetchSpeaksToTheHostsThatItHasNow(t *testing.T) {
	s := site(t)
	host := s.Listener.Addr().String()
	o := newFetch(t, service.FetchOptions{Hosts: []string{"other.example"}})
	get := func() string { return show(t, call(t, o, "get", `["`+s.URL+`/echo"]`)) }
	if got := get(); !strings.Contains(got, "rejected") {
		t.Errorf("before: %s", got)
	}
	if err := o.SetHosts([]string{host}); err != nil {
		t.Fatal(err)
	}
	if got := get(); !strings.Contains(got, "GET /echo") {
		t.Errorf("with the host: %s", got)
	}
	for _, bad := range [][]string{nil, {"http://x"}} {
		if err := o.SetHosts(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
	if got := get(); !strings.Contains(got, "GET /echo") {
		t.Errorf("after what was refused: %s", got)
	}
	if err := o.SetHosts([]string{"other.example"}); err != nil {
		t.Fatal(err)
	}
	if got := get(); !strings.Contains(got, "rejected") {
		t.Errorf("after: %s", got)
	}
}

func TestCredentialsStayWithTheServerThatTheyAreFor(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/show", func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Authorization", "Cookie", "X-Other", "Referer"} {
			fmt.Fprintf(w, "%s=%s ", name, strings.ReplaceAll(r.Header.Get(name), "http://"+r.Host, ""))
		}
	})
	mux.HandleFunc("/to", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("u"), http.StatusTemporaryRedirect)
	})
	a, b := httptest.NewServer(mux), httptest.NewServer(mux)
	defer a.Close()
	defer b.Close()
	localhost := strings.Replace(a.URL, "127.0.0.1", "localhost", 1)
	o := newFetch(t, service.FetchOptions{Hosts: []string{a.Listener.Addr().String(), b.Listener.Addr().String(), strings.TrimPrefix(localhost, "http://")}})
	to := func(hops ...string) string {
		link := hops[len(hops)-1] + "/show"
		for i := len(hops) - 2; i >= 0; i-- {
			link = hops[i] + "/to?u=" + url.QueryEscape(link)
		}
		return link
	}
	for _, test := range []struct {
		name, link, headers, want string
	}{
		{"directly", to(a.URL), "", "Authorization=secret Cookie=a=1 X-Other=yes Referer= "},
		{"the same server", to(a.URL, a.URL), "", "Authorization=secret Cookie=a=1 X-Other=yes Referer=" + strings.TrimPrefix(to(a.URL, a.URL), a.URL) + " "},
		{"another port", to(a.URL, b.URL), "", "Authorization= Cookie= X-Other=yes Referer= "},
		{"another name", to(a.URL, localhost), "", "Authorization= Cookie= X-Other=yes Referer= "},
		{"there and back", to(a.URL, b.URL, a.URL), "", "Authorization= Cookie= X-Other=yes Referer= "},
		{"two hops away", to(a.URL, a.URL, b.URL, b.URL), "", "Authorization= Cookie= X-Other=yes Referer= "},
		{"a referer of its own", to(a.URL, b.URL), `, "referer": "mine"`, "Authorization= Cookie= X-Other=yes Referer=mine "},
	} {
		args := fmt.Sprintf(`[%q, {"headers": {"authorization": "secret", "cookie": "a=1", "x-other": "yes"%s}}]`, test.link, test.headers)
		for _, method := range []string{"get", "fetch"} {
			r := call(t, o, method, args)
			if r.Rejected {
				t.Errorf("%s: %s", test.name, show(t, r))
			} else if body := value[got](t, r).Body; body != test.want {
				t.Errorf("%s, %s: the server got %q, want %q", test.name, method, body, test.want)
			}
		}
	}
}

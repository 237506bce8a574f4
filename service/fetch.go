package service

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/limits"
)

// Fetch is the service "fetch": HTTP to some hosts and no others.
type Fetch struct {
	*adapter
	fetch     *fetch
	transport *http.Transport
}

// FetchOptions are the limits of a [Fetch].
type FetchOptions struct {
	// Hosts are the hosts to which it may send requests: a name or address, on the usual port of http or https,
	// or with a port ("localhost:8080"); "*.example.com" is all names below example.com, and not that itself.
	// The address of a name is not checked.
	Hosts []string
	// Timeout bounds a call, the reading of the answer included. The default is 30 seconds.
	Timeout time.Duration
	// RootCAs are the authorities that certify servers. The default is the system's.
	RootCAs *x509.CertPool
	// Allow reports whether the process can spare [CallDescriptors] for a call; without them the call is
	// rejected with LIMIT. Nil allows every call.
	Allow func() bool
}

// The limits of a fetch. The length of an answer is limited as that of a file is.
const (
	fetchTimeout      = limits.Fetch
	maxFetches        = limits.Fetches
	maxRedirects      = limits.Redirects
	maxRequestBytes   = limits.FetchBytes
	maxHeaders        = limits.FetchHeaders
	maxHeaderBytes    = limits.FetchHeaderBytes
	maxAnswerHeaders  = 64 << 10
	dialTimeout       = 10 * time.Second
	idleConnections   = 8
	idleConnectionFor = time.Minute
)

// fetchAgain are the methods that may be done twice.
var fetchAgain = [...]string{"get", "head"}

// FetchTraits is the [Kind.Traits] of [Fetch].
func FetchTraits(method string) Traits {
	return Traits{Idempotent: slices.Contains(fetchAgain[:], method)}
}

// NewFetch returns a service that sends requests to the given hosts. The caller closes it.
func NewFetch(o FetchOptions) (*Fetch, error) {
	hs, err := parseHosts(o.Hosts)
	if err != nil {
		return nil, fmt.Errorf("service fetch: %w", err)
	}
	if o.Timeout <= 0 {
		o.Timeout = fetchTimeout
	}
	transport := &http.Transport{
		Proxy:                  nil, // the environment is the operator's, and no proxy would keep to the hosts
		DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConns:           idleConnections,
		IdleConnTimeout:        idleConnectionFor,
		MaxResponseHeaderBytes: maxAnswerHeaders,
		ForceAttemptHTTP2:      true,
	}
	if o.RootCAs != nil {
		transport.TLSClientConfig = tlsConfig(o.RootCAs)
	}
	f := &fetch{timeout: o.Timeout}
	f.hosts.Store(&hs)
	f.client = &http.Client{Transport: transport, CheckRedirect: f.redirect}
	a := builtIn("fetch", f, allowed(o.Allow), IdempotentMethods(fetchAgain[:]...))
	a.queue.limit = maxFetches
	return &Fetch{a, f, transport}, nil
}

// SetHosts sets the hosts for later requests, as [FetchOptions] does. A request that was sent goes on; its
// redirections are judged by the new list. After an error nothing has changed.
func (f *Fetch) SetHosts(hosts []string) error {
	hs, err := parseHosts(hosts)
	if err != nil {
		return fmt.Errorf("service fetch: %w", err)
	}
	f.fetch.hosts.Store(&hs)
	f.transport.CloseIdleConnections()
	return nil
}

// Close closes idle connections. Calls that are under way go on.
func (f *Fetch) Close() error {
	f.transport.CloseIdleConnections()
	return nil
}

type fetch struct {
	hosts   atomic.Pointer[hosts]
	client  *http.Client
	timeout time.Duration
}

type fetchOptions struct {
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	// Body is the text to send, BodyBytes the bytes.
	Body      *string `json:"body"`
	BodyBytes []byte  `json:"bodyBytes"`
	// Bytes asks for the body of the answer as base64.
	Bytes bool `json:"bytes"`
}

type answer struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    any               `json:"body"`
}

// Fetch makes a request and returns the answer, of any status.
func (f *fetch) Fetch(ctx context.Context, link string, options ...*fetchOptions) (*answer, error) {
	o, err := one("fetch", options)
	if err != nil {
		return nil, err
	}
	if o.Method == "" {
		o.Method = http.MethodGet
	}
	return f.do(ctx, link, o)
}

// Get is Fetch with method GET.
func (f *fetch) Get(ctx context.Context, link string, options ...*fetchOptions) (*answer, error) {
	return f.only(ctx, http.MethodGet, link, options)
}

// Head is Fetch with method HEAD.
func (f *fetch) Head(ctx context.Context, link string, options ...*fetchOptions) (*answer, error) {
	return f.only(ctx, http.MethodHead, link, options)
}

func (f *fetch) only(ctx context.Context, method, link string, options []*fetchOptions) (*answer, error) {
	name := strings.ToLower(method)
	o, err := one(name, options)
	if err != nil {
		return nil, err
	}
	if o.Method != "" && !strings.EqualFold(o.Method, method) {
		return nil, typeErrorf("fetch.%s: method %s: use fetch(url, options)", name, quote(o.Method))
	}
	o.Method = method
	return f.do(ctx, link, o)
}

// one returns the options of a call, all of which may be left out.
func one(name string, options []*fetchOptions) (o fetchOptions, err error) {
	switch {
	case len(options) == 0 || len(options) == 1 && options[0] == nil:
		return o, nil
	case len(options) == 1:
		return *options[0], nil
	}
	return o, typeErrorf("fetch.%s: got %d arguments, want %s(url, options), the last one optional", name, 1+len(options), name)
}

func (f *fetch) do(ctx context.Context, link string, o fetchOptions) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	request, err := f.request(ctx, link, o)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	response, err := f.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", request.URL.Host, f.why(ctx, err))
	}
	defer response.Body.Close()
	limit := maxReadText
	if o.Bytes {
		limit = maxReadBytes
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: read the body: %w", request.URL.Host, f.why(ctx, err))
	}
	if len(body) > limit {
		return nil, &Error{errcode.Limit, fmt.Sprintf("fetch %s: the body has more than %d bytes; a part can be had with a Range header, if the server has them", request.URL.Host, limit)}
	}
	a := &answer{Status: response.StatusCode, Headers: headersOf(response.Header), Body: body}
	if !o.Bytes {
		if at := notUTF8(body); at >= 0 {
			return nil, fmt.Errorf("fetch %s: byte %d of the body is not UTF-8; ask for base64 with {bytes: true}", request.URL.Host, at)
		}
		a.Body = string(body)
	}
	return a, nil
}

// request returns the request that a vat asks for, or an error that describes its fault.
func (f *fetch) request(ctx context.Context, link string, o fetchOptions) (*http.Request, error) {
	u, err := f.hosts.Load().parseURL(link)
	if err != nil {
		return nil, err
	}
	method := strings.ToUpper(o.Method)
	methods := []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
	if !slices.Contains(methods, method) {
		return nil, fmt.Errorf("method %s: want one of %s", quote(o.Method), strings.Join(methods, ", "))
	}
	body := o.BodyBytes
	if o.Body != nil {
		body = []byte(*o.Body)
	}
	switch {
	case o.Body != nil && o.BodyBytes != nil:
		return nil, errors.New("body and bodyBytes: want one of them")
	case len(body) > maxRequestBytes:
		return nil, &Error{errcode.Limit, fmt.Sprintf("a body of %d bytes, above the limit of %d", len(body), maxRequestBytes)}
	case (method == "GET" || method == "HEAD") && (o.Body != nil || o.BodyBytes != nil):
		return nil, fmt.Errorf("method %s has no body", method)
	}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return request, setHeaders(request.Header, o.Headers)
}

// redirect decides about one redirection. Headers with credentials are for the server that the vat named:
// another server does not get them, nor does that server after another one. (By itself [http.Client] would give
// them to the same name on another port, and to names below it.)
func (f *fetch) redirect(next *http.Request, done []*http.Request) error {
	if len(done) > maxRedirects {
		return fmt.Errorf("more than %d redirections", maxRedirects)
	}
	if err := f.hosts.Load().allow(next.URL); err != nil {
		return fmt.Errorf("redirected: %w", err)
	}
	if first := done[0]; slices.ContainsFunc(slices.Concat(done, []*http.Request{next}), func(r *http.Request) bool { return !sameServer(r.URL, first.URL) }) {
		for _, name := range []string{"Authorization", "Cookie"} {
			next.Header.Del(name)
		}
		if first.Header.Get("Referer") == "" { // it is the URL before, with all its parts
			next.Header.Del("Referer")
		}
	}
	return nil
}

// why returns the failure of a request, without its URL, which may hold secrets.
func (f *fetch) why(ctx context.Context, err error) error {
	if ctx.Err() == context.DeadlineExceeded {
		return fmt.Errorf("no complete answer within %v", f.timeout)
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

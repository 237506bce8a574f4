package service

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// hosts are the hosts to which a fetch may send requests.
type hosts []hostPattern

// hostPattern is one host, or all below a domain, on one port or on the usual one of the scheme.
type hostPattern struct {
	host  string // in lower case, an IPv6 address without brackets
	below bool   // "*.host": one or more labels before it
	port  string // empty: the usual one
}

const (
	maxHosts    = 1000
	maxURLBytes = 8 << 10
)

// parseHosts reads "host", "host:port", "*.example.com", "[::1]" and the like.
func parseHosts(list []string) (hosts, error) {
	if len(list) == 0 || len(list) > maxHosts {
		return nil, fmt.Errorf("%d hosts: want 1 to %d", len(list), maxHosts)
	}
	var hs hosts
	var problems []error
	for _, text := range list {
		p, ok := parseHost(text)
		if !ok {
			problems = append(problems, fmt.Errorf(`host %s: want a name or address in ASCII, perhaps with a port or a leading "*." for all names below a domain, such as "api.example.com", "localhost:8080", "[::1]:80", "*.example.com"; no scheme, no path`, quote(text)))
			continue
		}
		hs = append(hs, p)
	}
	return hs, errors.Join(problems...)
}

func parseHost(text string) (p hostPattern, ok bool) {
	rest, below := strings.CutPrefix(strings.ToLower(text), "*.")
	u, err := url.Parse("https://" + rest)
	if err != nil || u.Host != rest || u.Hostname() == "" || !plainHost(u.Hostname()) || strings.HasSuffix(rest, ":") {
		return p, false
	}
	p = hostPattern{u.Hostname(), below, u.Port()}
	if n, err := strconv.Atoi(p.port); p.port != "" && (err != nil || n < 1 || n > 65535 || strconv.Itoa(n) != p.port) {
		return p, false
	}
	return p, !below || !strings.ContainsAny(p.host, ":")
}

// plainHost reports whether a host has only characters of names and addresses.
func plainHost(host string) bool {
	for _, c := range host {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:", c) {
			return false
		}
	}
	return true
}

// usualPort returns the port of a scheme that can be fetched, or "".
func usualPort(scheme string) string {
	switch scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}

// portOf returns the port of a URL.
func portOf(u *url.URL) string { return cmp.Or(u.Port(), usualPort(u.Scheme)) }

// sameServer reports whether two URLs lead to the same server in the same way.
func sameServer(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

// allow returns the reason why a URL may not be fetched, or nil.
func (hs hosts) allow(u *url.URL) error {
	usual := usualPort(u.Scheme)
	if usual == "" {
		return fmt.Errorf("scheme %s: want http or https", quote(u.Scheme))
	}
	if u.User != nil {
		return errors.New("no name and password in a URL; pass a header")
	}
	host, port := strings.ToLower(u.Hostname()), portOf(u)
	if plainHost(host) {
		for _, p := range hs {
			if (p.port == port || p.port == "" && port == usual) && (p.host == host && !p.below || p.below && strings.HasSuffix(host, "."+p.host) && host[0] != '.') {
				return nil
			}
		}
	}
	return fmt.Errorf("host %s is not among those that this service may speak to", quote(u.Host))
}

// parseURL returns the URL of a vat's request.
func (hs hosts) parseURL(text string) (*url.URL, error) {
	if len(text) > maxURLBytes {
		return nil, fmt.Errorf("a URL of %d bytes, above the limit of %d", len(text), maxURLBytes)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL", quote(text))
	}
	return u, hs.allow(u)
}

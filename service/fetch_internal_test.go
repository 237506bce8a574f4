package service

import (
	"net/http"
	"net/url"
	"testing"
)

// Cases for which loopback has no other server: a name below, another scheme.
func TestCredentialsDoNotGoToNamesBelowNorInTheClear(t *testing.T) {
	request := func(link string) *http.Request {
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{URL: u, Header: http.Header{"Authorization": {"secret"}, "Cookie": {"a=1"}, "X-Other": {"yes"}}}
	}
	hs, err := parseHosts([]string{"example.com", "*.example.com", "example.com:8443", "*.example.com:8443"})
	if err != nil {
		t.Fatal(err)
	}
	f := &fetch{}
	f.hosts.Store(&hs)
	for link, stay := range map[string]bool{
		"https://example.com/a":        true,
		"https://EXAMPLE.com:443/a":    true,
		"https://www.example.com/a":    false,
		"http://example.com/a":         false,
		"https://example.com:8443/a":   false,
		"https://a.example.com:8443/a": false,
	} {
		next := request(link)
		if err := f.redirect(next, []*http.Request{request("https://example.com/")}); err != nil {
			t.Errorf("%s: %v", link, err)
		}
		if got := next.Header.Get("Authorization") != "" && next.Header.Get("Cookie") != ""; got != stay || next.Header.Get("X-Other") == "" {
			t.Errorf("%s gets %v, want credentials: %v", link, next.Header, stay)
		}
	}
}

package service

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// ownHeaders returns the headers that the connection sets itself.
func ownHeaders() []string {
	return []string{
		"Connection", "Content-Length", "Expect", "Host", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade",
	}
}

// setHeaders sets the headers that a vat gives for a request, or returns an error that describes their fault.
func setHeaders(h http.Header, asked map[string]string) error {
	if len(asked) > maxHeaders {
		return fmt.Errorf("%d headers, above the limit of %d", len(asked), maxHeaders)
	}
	size := 0
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		value := asked[name]
		size += len(name) + len(value)
		if size > maxHeaderBytes {
			return fmt.Errorf("headers of more than %d bytes", maxHeaderBytes)
		}
		canonical := http.CanonicalHeaderKey(name)
		switch _, twice := h[canonical]; {
		case !isToken(name):
			return fmt.Errorf("header %s is no name of a header", quote(name))
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			return fmt.Errorf("header %s has a control character in its value", quote(name))
		case slices.Contains(ownHeaders(), canonical):
			return fmt.Errorf("header %s is set by the service itself", quote(name))
		case twice:
			return fmt.Errorf("header %s is given twice", quote(name))
		}
		h.Set(name, value)
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "ocapkernel")
	}
	return nil
}

func isToken(s string) bool {
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// headersOf returns the headers of an answer: names in lower case, several values of one name in one string.
func headersOf(h http.Header) map[string]string {
	out := map[string]string{}
	for name, values := range h {
		between := ", "
		if name == "Set-Cookie" {
			between = "\n" // its values have commas
		}
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "$") {
			name = "$" + name // as docs/json.md says
		}
		out[name] = textOf(strings.Join(values, between))
	}
	return out
}

// textOf returns a header's value as text: if it is not UTF-8 each byte is a character, as HTTP once said.
func textOf(value string) string {
	if utf8.ValidString(value) {
		return value
	}
	text := make([]rune, 0, len(value))
	for i := range len(value) {
		text = append(text, rune(value[i]))
	}
	return string(text)
}

func tlsConfig(roots *x509.CertPool) *tls.Config {
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
}

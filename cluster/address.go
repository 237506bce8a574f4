package cluster

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// normalHostPort returns host:port in its one normal form. problem describes the fault of s, or is "".
func normalHostPort(s string, listen bool) (normal, problem string) {
	host, port, err := net.SplitHostPort(s)
	switch {
	case err != nil:
		return "", `is not host:port: write "127.0.0.1:7000", "[::1]:7000" or "localhost:7000"`
	case host == "" && listen:
		return "", "names no address: name the address; 0.0.0.0 for all of them"
	case host == "":
		return "", "names no host: name the one to connect to"
	}
	lowest := 1
	if listen {
		lowest = 0
	}
	n, problem := normalPort(port, lowest)
	if problem != "" {
		return "", problem
	}
	if host = normalHost(host); host == "" {
		return "", `names neither an IP address nor a host: write "127.0.0.1:7000", "[::1]:7000" or "localhost:7000"`
	}
	return net.JoinHostPort(host, n), ""
}

// normalPort returns the digits of a port. problem describes the fault of s, or is "".
func normalPort(s string, lowest int) (normal, problem string) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || int(n) < lowest {
		return "", fmt.Sprintf("has the port %s: expected a number from %d to 65535", quote(s), lowest)
	}
	return strconv.Itoa(int(n)), ""
}

// normalHost returns the normal form of an IP address, without brackets, or of a host name; "" if s is neither.
func normalHost(s string) string {
	if addr, err := netip.ParseAddr(s); err == nil {
		if len(addr.Zone()) > 64 || !onlyLettersDigitsAnd(addr.Zone(), "_.-") {
			return ""
		}
		return addr.Unmap().String()
	}
	if !validHostName(s) {
		return ""
	}
	return strings.ToLower(s)
}

// validHostName reports whether s is a host name that resolvers accept. A text that a resolver could take for
// an IP address is none.
func validHostName(s string) bool {
	if len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || !onlyLettersDigitsAnd(label, "_-") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		last = label
	}
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(strings.ToLower(last), "0x")
}

// normalURLHost returns the normal form of a host as it stands in a URL, with or without a port, or with a
// leading "*." label. problem describes the fault of s, or is "".
func normalURLHost(s string) (normal, problem string) {
	host, port := s, ""
	switch {
	case strings.Contains(s, "/"):
		return "", `has a scheme or a path: write the host alone, such as "example.org" or "example.org:8080"`
	case strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]"):
		host = s[1 : len(s)-1]
		if !strings.Contains(host, ":") {
			return "", "is no IPv6 address: only those stand in brackets"
		}
	case strings.Count(s, ":") > 1 && !strings.HasPrefix(s, "["):
		return "", `is not a host: an IPv6 address stands in brackets, such as "[::1]" or "[::1]:8080"`
	case strings.Contains(s, ":"):
		var err error
		if host, port, err = net.SplitHostPort(s); err != nil {
			return "", "is neither host nor host:port"
		}
		if port, problem = normalPort(port, 1); problem != "" {
			return "", problem
		}
	}
	name, wild := strings.CutPrefix(host, "*.")
	addr, err := netip.ParseAddr(name)
	switch {
	case strings.Contains(name, "*"):
		return "", `has a wildcard elsewhere than as its first label: write each host, or "*.example.org"`
	case err == nil && (wild || addr.Zone() != ""):
		return "", "is not a host: an IP address stands alone, without wildcard and zone"
	}
	if name = normalHost(name); name == "" {
		return "", `is not a host: expected a name such as "example.org" (others in their "xn--" form), or an IP address`
	}
	if wild {
		name = "*." + name
	}
	switch {
	case port != "":
		return net.JoinHostPort(name, port), ""
	case strings.Contains(name, ":"):
		return "[" + name + "]", ""
	}
	return name, ""
}

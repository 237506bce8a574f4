package wire

import "fmt"

// Ref is one vat's name for an object or a promise:
//
//	o+N     an object that this vat exported (o+0 is its root)
//	o+dN/M  a durable object of this vat: kind N, instance M
//	o-N     an object that the kernel introduced to this vat
//	p+N     a promise that this vat introduced
//	p-N     a promise that the kernel introduced
//
// Numbers are decimal, below 2^53, without leading zeros.
type Ref string

// RootRef names the root object of every vat.
const RootRef Ref = "o+0"

// RefParts is a valid Ref, taken apart.
type RefParts struct {
	// Promise is true for a promise, false for an object.
	Promise bool
	// Own is true for '+': the vat allocated the number.
	Own bool
	// Durable is true for o+dN/M.
	Durable bool
	// Number is N.
	Number uint64
	// Instance is M of a durable object.
	Instance uint64
}

// ParseRef returns the parts of a reference that came from outside, or an error if it has not the form of one.
func ParseRef(s string) (RefParts, error) {
	bad := func() (RefParts, error) {
		if len(s) > 48 {
			s = s[:48] + "…"
		}
		return RefParts{}, fmt.Errorf("%q is not a reference: want o+N, o-N, o+dN/M, p+N or p-N", s)
	}
	if len(s) < 3 || len(s) > 48 {
		return bad()
	}
	var p RefParts
	switch s[0] {
	case 'o':
	case 'p':
		p.Promise = true
	default:
		return bad()
	}
	switch s[1] {
	case '+':
		p.Own = true
	case '-':
	default:
		return bad()
	}
	rest := s[2:]
	if rest[0] == 'd' {
		if p.Promise || !p.Own {
			return bad()
		}
		p.Durable = true
		n, rest, ok := number(rest[1:])
		if !ok || rest == "" || rest[0] != '/' {
			return bad()
		}
		m, rest, ok := number(rest[1:])
		if !ok || rest != "" {
			return bad()
		}
		p.Number, p.Instance = n, m
		return p, nil
	}
	n, rest, ok := number(rest)
	if !ok || rest != "" {
		return bad()
	}
	p.Number = n
	return p, nil
}

// number reads a decimal without leading zeros, below 2^53, from the front of s.
func number(s string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		n = n*10 + uint64(s[i]-'0')
		i++
		if n >= 1<<53 {
			return 0, "", false
		}
	}
	if i == 0 || (i > 1 && s[0] == '0') {
		return 0, "", false
	}
	return n, s[i:], true
}

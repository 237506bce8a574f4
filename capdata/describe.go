package capdata

import (
	"fmt"
	"math/big"
	"strings"
	"unicode"
)

// Describe returns a few words about a value, for messages about values that do not fit: its kind, and the
// value itself if it is short. reference, which may be nil, describes a reference.
func Describe(v any, reference func(Remotable) string) string {
	switch x := v.(type) {
	case nil:
		return "null"
	case Undefined:
		return "undefined"
	case bool:
		return fmt.Sprintf("boolean %v", x)
	case float64:
		return fmt.Sprintf("number %v", x)
	case *big.Int:
		return "bigint"
	case string:
		if len(x) > 40 {
			return fmt.Sprintf("string of %d bytes", len(x))
		}
		return fmt.Sprintf("string %q", x)
	case []any:
		return fmt.Sprintf("array of %d", len(x))
	case *Record:
		return "record"
	case *Tagged:
		return "tagged value"
	case *Error:
		return "error"
	case Symbol:
		return "symbol"
	case Promise:
		return "promise"
	case Remotable:
		if reference != nil {
			return reference(x)
		}
	}
	return "reference"
}

// DescribeAll describes the arguments of a call, the first of many.
func DescribeAll(args []any, reference func(Remotable) string) string {
	if len(args) == 0 {
		return "none"
	}
	var list []string
	for i, a := range args {
		if i == 8 {
			list = append(list, "…")
			break
		}
		list = append(list, Describe(a, reference))
	}
	return strings.Join(list, ", ")
}

// MethodName returns the name under which vats know a Go method or field: deposit for Deposit, id for ID, urlOf
// for URLOf.
func MethodName(goName string) string {
	rs := []rune(goName)
	for i, r := range rs {
		if !unicode.IsUpper(r) {
			break
		}
		if i > 0 && i+1 < len(rs) && unicode.IsLower(rs[i+1]) {
			break
		}
		rs[i] = unicode.ToLower(r)
	}
	return string(rs)
}

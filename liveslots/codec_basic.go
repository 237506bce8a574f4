package liveslots

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strconv"
	"time"

	"ocapkernel.dev/capdata"
)

var typeBigInt = reflect.TypeFor[*big.Int]()

// maxSafe is the greatest integer up to which a float64 holds every integer. Integers beyond it are passed as
// bigints, so that no digit is lost.
const maxSafe = 1<<53 - 1

func utoa(n uint64) string { return strconv.FormatUint(n, 10) }

func makeBool(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) { return v.Bool(), nil }
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		b, ok := in.(bool)
		if !ok {
			return d.mismatch(c.sig, in)
		}
		out.SetBool(b)
		return nil
	}
}

func makeInt(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		n := v.Int()
		if n > maxSafe || n < -maxSafe {
			return big.NewInt(n), nil
		}
		return float64(n), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		var n int64
		switch x := in.(type) {
		case float64:
			if x != math.Trunc(x) || x > maxSafe || x < -maxSafe {
				return d.mismatch(c.sig, in)
			}
			n = int64(x)
		case *big.Int:
			if !x.IsInt64() {
				return d.mismatch(c.sig, in)
			}
			n = x.Int64()
		default:
			return d.mismatch(c.sig, in)
		}
		if out.OverflowInt(n) {
			return d.mismatch(c.sig, in)
		}
		out.SetInt(n)
		return nil
	}
}

func makeUint(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		n := v.Uint()
		if n > maxSafe {
			return new(big.Int).SetUint64(n), nil
		}
		return float64(n), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		var n uint64
		switch x := in.(type) {
		case float64:
			if x != math.Trunc(x) || x > maxSafe || x < 0 {
				return d.mismatch(c.sig, in)
			}
			n = uint64(x)
		case *big.Int:
			if !x.IsUint64() {
				return d.mismatch(c.sig, in)
			}
			n = x.Uint64()
		default:
			return d.mismatch(c.sig, in)
		}
		if out.OverflowUint(n) {
			return d.mismatch(c.sig, in)
		}
		out.SetUint(n)
		return nil
	}
}

func makeFloat(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) { return v.Float(), nil }
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		x, ok := in.(float64)
		if !ok || out.OverflowFloat(x) && !math.IsInf(x, 0) {
			return d.mismatch(c.sig, in)
		}
		out.SetFloat(x)
		return nil
	}
}

func makeString(c *codec, symbol bool) {
	if symbol {
		c.enc = func(_ *encoder, v reflect.Value) (any, error) { return capdata.Symbol(v.String()), nil }
		c.dec = func(d *decoder, in any, out reflect.Value) error {
			s, ok := in.(capdata.Symbol)
			if !ok {
				return d.mismatch("symbol", in)
			}
			out.SetString(string(s))
			return nil
		}
		return
	}
	c.enc = func(_ *encoder, v reflect.Value) (any, error) { return v.String(), nil }
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		s, ok := in.(string)
		if !ok {
			return d.mismatch(c.sig, in)
		}
		out.SetString(s)
		return nil
	}
}

// Bytes are passed as a base64 string: Endo's byte arrays have no smallcaps form yet.
func makeBytes(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		if v.IsNil() {
			return nil, nil
		}
		return base64.StdEncoding.EncodeToString(v.Bytes()), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		switch x := in.(type) {
		case nil, capdata.Undefined:
			out.SetZero()
			return nil
		case string:
			b, err := base64.StdEncoding.DecodeString(x)
			if err == nil {
				out.SetBytes(b)
				return nil
			}
		}
		return d.mismatch(c.sig+" as a base64 string", in)
	}
}

func makeBigInt(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		n := v.Interface().(*big.Int)
		if n == nil {
			return nil, nil
		}
		return new(big.Int).Set(n), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		switch x := in.(type) {
		case nil, capdata.Undefined:
			out.SetZero()
			return nil
		case *big.Int:
			out.Set(reflect.ValueOf(new(big.Int).Set(x)))
			return nil
		case float64:
			if x == math.Trunc(x) && x <= maxSafe && x >= -maxSafe {
				out.Set(reflect.ValueOf(big.NewInt(int64(x))))
				return nil
			}
		}
		return d.mismatch(c.sig, in)
	}
}

func makeTime(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		t := v.Interface().(time.Time).UTC()
		if y := t.Year(); y < 0 || y > 9999 {
			return nil, fmt.Errorf("a time in the year %d cannot be passed", y)
		}
		return t.Format(time.RFC3339Nano), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		if s, ok := in.(string); ok {
			if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
				out.Set(reflect.ValueOf(t.UTC()))
				return nil
			}
		}
		return d.mismatch("time.Time as an RFC 3339 string", in)
	}
}

func makeError(c *codec) {
	c.enc = func(_ *encoder, v reflect.Value) (any, error) {
		if v.IsNil() {
			return nil, nil
		}
		return errorTree(v.Interface().(error)), nil
	}
	c.dec = func(d *decoder, in any, out reflect.Value) error {
		switch x := in.(type) {
		case nil, capdata.Undefined:
			out.SetZero()
			return nil
		case *capdata.Error:
			e, err := errorFrom(x)
			if err != nil {
				return err
			}
			out.Set(reflect.ValueOf(e))
			return nil
		}
		return d.mismatch("error", in)
	}
}

func errorFrom(ce *capdata.Error) (*Error, error) {
	var e encoder
	x, err := e.seal(ce)
	if err != nil {
		return nil, err
	}
	return &Error{Name: ce.Name, Message: ce.Message, val: x}, nil
}

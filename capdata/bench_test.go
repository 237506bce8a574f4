package capdata_test

import (
	"bytes"
	"testing"

	"github.com/vmihailenco/msgpack/v5"

	"ocapkernel.dev/capdata"
)

const smallCall = `#["deposit",["+100","$0.Alleged: Purse",{"amount":120.5,"memo":"rent","paid":true}]]`

func BenchmarkDecodeCall(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(smallCall)))
	for b.Loop() {
		if _, _, err := capdata.DecodeCall(smallCall, 1); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeCall(b *testing.B) {
	method, args, err := capdata.DecodeCall(smallCall, 1)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(smallCall)))
	for b.Loop() {
		if body, err := capdata.EncodeCall(method, args); err != nil || len(body) != len(smallCall) {
			b.Fatal(body, err)
		}
	}
}

func BenchmarkAppendCall(b *testing.B) {
	method, args, err := capdata.DecodeCall(smallCall, 1)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		if buf, err = capdata.AppendCall(buf[:0], method, args); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEnvelope(b *testing.B) {
	d := capdata.Data[ref]{Body: smallCall, Slots: []ref{"o-12"}}
	b.Run("encode", func(b *testing.B) {
		var buf bytes.Buffer
		enc := msgpack.NewEncoder(&buf)
		b.ReportAllocs()
		for b.Loop() {
			buf.Reset()
			if err := capdata.EncodeData(enc, d); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		frame := encodeData(b, d)
		r := bytes.NewReader(frame)
		dec := msgpack.NewDecoder(r)
		b.ReportAllocs()
		for b.Loop() {
			r.Reset(frame)
			dec.ResetReader(r)
			if _, err := capdata.DecodeData[ref](dec, limits); err != nil {
				b.Fatal(err)
			}
		}
	})
}

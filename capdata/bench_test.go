package capdata_test

import (
	"testing"

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

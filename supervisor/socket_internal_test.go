package supervisor

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/time/rate"
	"pgregory.net/rapid"
)

// pieces is a connection that hands out its bytes in pieces of random length.
type pieces struct {
	net.Conn
	t    *rapid.T
	left []byte
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, errors.New("all was read")
	}
	n := copy(b, p.left[:min(len(p.left), rapid.IntRange(1, 30).Draw(p.t, "piece"))])
	p.left = p.left[n:]
	return n, nil
}

// However the bytes come, the frames before a GOAWAY are read, neither it nor a later frame is acted on, and frames that
// carry no data are counted.
func TestReadingEndsAtGoAway(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var sent bytes.Buffer
		fr := http2.NewFramer(&sent, nil)
		others, before := 0, -1
		for range rapid.IntRange(0, 20).Draw(t, "frames") {
			kind := rapid.IntRange(0, 4).Draw(t, "kind")
			data := make([]byte, rapid.IntRange(0, 40).Draw(t, "bytes"))
			if kind == 4 && before < 0 {
				before = sent.Len()
			}
			if before < 0 && (kind != 0 || len(data) == 0) {
				others++
			}
			var err error
			switch kind {
			case 0:
				err = fr.WriteData(1, false, data)
			case 1:
				err = fr.WritePing(true, [8]byte{})
			case 2:
				err = fr.WriteRawFrame(0xee, 0xff, 1<<30, data)
			case 3:
				err = fr.WriteWindowUpdate(0, 7)
			case 4:
				err = fr.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, data)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		all := sent.Bytes()
		c := &pluginConn{Conn: &pieces{t: t, left: all}, frames: rate.NewLimiter(0, controlFramesAtOnce)}
		var got []byte
		var err error
		for err == nil {
			b := make([]byte, 64)
			var n int
			n, err = c.Read(b)
			got = append(got, b[:n]...)
		}
		want := all
		if before >= 0 {
			want = all[:before]
			if err != io.EOF {
				t.Errorf("after GOAWAY: got %v", err)
			}
		}
		// The first bytes of a GOAWAY may have been handed out before its kind was known.
		if !bytes.HasPrefix(got, want) || len(got) >= len(want)+frameHeaderBytes {
			t.Errorf("got %d bytes, want %d", len(got), len(want))
		}
		if counted := controlFramesAtOnce - int(c.frames.Tokens()+0.5); counted != others {
			t.Errorf("counted %d frames, there are %d", counted, others)
		}
		if !c.ended() {
			t.Error("it does not know that the connection has ended")
		}
	})
}

func TestCertificateIsCutOff(t *testing.T) {
	for line, want := range map[string]string{
		"1|1|unix|a|grpc|\n":       "1|1|unix|a|grpc|",
		"1|1|unix|a|grpc\n":        "1|1|unix|a|grpc\n",
		"1|1|unix|a|grpc|x\n":      "1|1|unix|a|grpc| has one",
		"1|1|unix|a|grpc|x|true\n": "1|1|unix|a|grpc| has one",
		"1|1|unix|a|grpc||true\n":  "1|1|unix|a|grpc|",
		"|||||||":                  "|||||",
		"":                         "",
	} {
		got, has := withoutCertificate([]byte(line))
		if has {
			got = append(bytes.Clone(got), " has one"...)
		}
		if string(got) != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

package supervisor_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"ocapkernel.dev/supervisor"
	"ocapkernel.dev/wire"
	"ocapkernel.dev/workers"
)

// Workers on a stream that no library would make: they speak HTTP/2 by hand.

// pluginPrefix begins the module of a worker that is such a plugin; its trick follows.
const pluginPrefix = "plugin/"

// bePlugin is the whole life of such a worker. It behaves as a plugin, but for its trick.
func bePlugin(trick string) {
	trick, arg, _ := strings.Cut(trick, " ")
	if trick == "stock" {
		beStockPlugin()
		os.Exit(0)
	}
	path := filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), "vat.sock")
	address, certificate := path, ""
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	switch trick {
	case "elsewhere":
		address = arg
	case "symlink":
		check(os.Symlink(arg, path))
	case "hardlink":
		check(os.Link(arg, path))
	case "file":
		check(os.WriteFile(path, nil, 0o600))
	case "certificate":
		certificate = someCertificate()
	case "absent":
	default:
		l, err := net.Listen("unix", path)
		check(err)
		go serveTrick(l, trick)
	}
	fmt.Printf("1|%d|unix|%s|grpc|%s\n", wire.Version, address, certificate)
	<-time.After(time.Hour)
}

func someCertificate() string {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	c, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, public, private)
	if err != nil {
		panic(err)
	}
	return base64.RawStdEncoding.EncodeToString(c)
}

// serveTrick serves the kernel's connection. Each frame is written at once, by one goroutine.
func serveTrick(l net.Listener, trick string) {
	conn, err := l.Accept()
	if err != nil {
		panic(err)
	}
	p := &trickster{conn: conn, fr: http2.NewFramer(conn, conn)}
	switch trick {
	case "mute":
		return
	case "hang-up":
		_ = conn.Close()
		return
	case "http1":
		_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
		return
	}
	if _, err := io.ReadFull(conn, make([]byte, len(http2.ClientPreface))); err != nil {
		panic(err)
	}
	if trick == "no-streams" {
		_ = p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
	} else {
		_ = p.fr.WriteSettings()
	}
	decode := hpack.NewDecoder(4096, nil)
	deliveries := 0
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			os.Exit(0)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = p.fr.WriteSettingsAck()
			}
		case *http2.HeadersFrame:
			fields, err := decode.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				panic(err)
			}
			for _, h := range fields {
				if h.Name == ":path" && h.Value == "/"+wire.Service+"/"+wire.FramesMethod {
					p.stream = f.StreamID
				}
			}
			if f.StreamID != p.stream || trick == "no-service" {
				p.end(f.StreamID, "12") // unimplemented
				continue
			}
			p.headers(p.stream, false, ":status", "200", "content-type", "application/grpc")
		case *http2.DataFrame:
			if f.StreamID != p.stream || len(f.Data()) == 0 {
				continue
			}
			switch deliveries++; deliveries {
			case 1:
				if trick != "no-hello" {
					p.say(wire.Hello{})
				}
			default:
				p.do(trick, deliveries)
			}
		}
	}
}

// trickster is a plugin's end of its connection.
type trickster struct {
	conn   net.Conn
	fr     *http2.Framer
	stream uint32
}

func (p *trickster) headers(stream uint32, end bool, pairs ...string) {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for i := 0; i < len(pairs); i += 2 {
		_ = e.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	_ = p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: end})
}

// end ends a call that has had no headers.
func (p *trickster) end(stream uint32, status string) {
	p.headers(stream, true, ":status", "200", "content-type", "application/grpc", "grpc-status", status)
}

// message is the encoding of a frame as a message of gRPC.
func message(f wire.UpFrame) []byte {
	frame, err := wire.AppendUp(nil, f)
	if err != nil {
		panic(err)
	}
	body, err := proto.Marshal(wrapperspb.Bytes(frame[wire.HeaderBytes:]))
	if err != nil {
		panic(err)
	}
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(body))), body...)
}

func (p *trickster) say(f wire.UpFrame) { p.data(message(f)) }

func (p *trickster) data(b []byte) { _ = p.fr.WriteData(p.stream, false, b) }

// do does the trick when the first part of delivery number has come; further parts are those of later deliveries.
func (p *trickster) do(trick string, number int) {
	switch {
	case trick == "ask" && number == 3: // the answer has begun to come; the window is never widened, so it stays where it is
		p.say(wire.Get{Key: "key"})
		time.AfterFunc(300*time.Millisecond, func() { p.say(wire.Get{Key: "key"}) })
		return
	case number != 2:
		return
	}
	switch trick {
	case "ask":
		p.say(wire.Get{Key: "key"})
	case "boast":
		p.data([]byte{0, 0x7f, 0xff, 0xff, 0xff})
	case "half": // of a message
		b := message(wire.Done{Number: 1})
		p.data(b[:len(b)-1])
	case "compressed":
		b := message(wire.Done{Number: 1})
		b[0] = 1
		p.data(b)
	case "no-message":
		p.data([]byte{0, 0, 0, 0, 3, 0xff, 0xff, 0xff})
	case "nothing":
		p.data([]byte{0, 0, 0, 0, 0})
	case "no-http":
		_, _ = p.conn.Write(bytes.Repeat([]byte("garbage "), 100))
	case "half-close":
		p.headers(p.stream, true, "grpc-status", "0")
	case "say-limit":
		p.headers(p.stream, true, "grpc-status", "8", "grpc-message", "a%0Areason")
	case "say-fault":
		p.headers(p.stream, true, "grpc-status", "9", "grpc-message", "a%0Areason")
	case "reset":
		_ = p.fr.WriteRSTStream(p.stream, http2.ErrCodeInternal)
	case "headers":
		for range 100 {
			p.headers(p.stream, false, "x", strings.Repeat("x", 10_000))
		}
	case "headers-for-ever":
		p.headers(p.stream, true, "x", strings.Repeat("x", 10_000), "y", strings.Repeat("y", 5_000))
		for {
			if p.fr.WriteContinuation(p.stream, false, make([]byte, 10_000)) != nil {
				return
			}
		}
	case "go-away":
		for {
			if p.fr.WriteGoAway(p.stream, http2.ErrCodeEnhanceYourCalm, []byte("too_many_pings")) != nil {
				return
			}
		}
	case "pings":
		go func() { _, _ = io.Copy(io.Discard, p.conn) }()
		for p.fr.WritePing(false, [8]byte{}) == nil {
		}
	case "settings":
		for p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1}) == nil {
		}
	case "windows":
		for p.fr.WriteWindowUpdate(0, 1) == nil {
		}
	case "empty-data":
		for p.fr.WriteData(p.stream, false, nil) == nil {
		}
	case "overflow": // of the window that the kernel has granted
		for p.fr.WriteData(p.stream, false, make([]byte, 16<<10)) == nil {
		}
	}
}

// A plugin that breaks its announcement is not started, and the kernel dials no other process in its stead.
func TestPluginsThatCannotBeStarted(t *testing.T) {
	dir := t.TempDir()
	victim, err := net.Listen("unix", filepath.Join(dir, "victim"))
	if err != nil {
		t.Fatal(err)
	}
	defer victim.Close()
	heard := make(chan int, 100)
	go func() {
		for {
			c, err := victim.Accept()
			if err != nil {
				close(heard)
				return
			}
			n, _ := io.Copy(io.Discard, c) // the answer is the bytes that it got before the end
			heard <- int(n)
			_ = c.Close()
		}
	}()
	const start = 3 * time.Second
	h := newHouse(t, func(c *supervisor.Config) { c.Starts, c.StartTimeout = 20, start })
	tricks := map[string]string{
		"elsewhere " + victim.Addr().String(): "PLUGIN_UNIX_SOCKET_DIR",
		"elsewhere vat.sock":                  "PLUGIN_UNIX_SOCKET_DIR",
		"elsewhere ":                          "PLUGIN_UNIX_SOCKET_DIR",
		"symlink " + victim.Addr().String():   "no socket",
		"hardlink " + victim.Addr().String():  "not the plugin that listens",
		"file":                                "no socket",
		"absent":                              "no such file",
		"certificate":                         "certificate",
		"mute":                                "no hello within",
		"hang-up":                             "Unavailable",
		"http1":                               "Unavailable",
		"no-streams":                          "no hello within",
		"no-service":                          "Unimplemented",
		"no-hello":                            "no hello within",
	}
	started := map[workers.Worker]string{}
	for trick := range tricks {
		spec := h.spec("")
		spec.Start.Module = pluginPrefix + trick
		started[h.Start(spec, h.events)] = trick
	}
	for range tricks {
		e := want[workers.Exited](h)
		trick := started[e.Worker]
		if e.Cause != workers.CauseStart || !strings.Contains(e.Detail, tricks[trick]) {
			t.Errorf("%s: got %s (%s), want %q", trick, e.Cause, e.Detail, tricks[trick])
		}
	}
	if entries, err := os.ReadDir(h.runDir); err != nil || len(entries) > 0 {
		t.Errorf("left in the run directory: %v, %v", entries, err)
	}
	_ = victim.Close()
	for n := range heard {
		if n > 0 {
			t.Errorf("somebody else heard %d bytes", n)
		}
	}
}

// A plugin that misbehaves during a delivery ends its worker, as on a descriptor, and nothing else.
func TestPluginsThatMisbehave(t *testing.T) {
	h := newHouse(t)
	other := h.start(h.spec("echo"))
	type end struct {
		cause workers.Cause
		part  string
	}
	ends := map[string]end{
		"boast":            {workers.CauseLimit, "over the limit of 4194304"},
		"half":             {workers.CauseDeadline, "delivery 1 took longer"},
		"compressed":       {workers.CauseMalformed, "compress"},
		"no-message":       {workers.CauseMalformed, "unmarshal"},
		"nothing":          {workers.CauseMalformed, "empty frame"},
		"no-http":          {workers.CauseMalformed, "http2"},
		"half-close":       {workers.CauseCrash, "closed its stream"},
		"say-limit":        {workers.CauseLimit, `a\nreason`},
		"say-fault":        {workers.CauseCrash, `a\nreason`},
		"reset":            {workers.CauseMalformed, "RST_STREAM"},
		"headers":          {workers.CauseMalformed, "HEADERS"},
		"headers-for-ever": {workers.CauseCrash, "Unknown"}, // all that gRPC knows of it
		"overflow":         {workers.CauseMalformed, ""},
	}
	started := map[workers.Worker]string{}
	for trick := range ends {
		spec := h.spec("")
		spec.Start.Module = pluginPrefix + trick
		if trick == "half" {
			spec.DeliveryTime = time.Second
		}
		started[h.start(spec)] = trick
	}
	for w := range started {
		w.Deliver(call(1, "echo"))
	}
	for range started {
		e := want[workers.Exited](h)
		trick := started[e.Worker]
		if want := ends[trick]; e.Cause != want.cause || !strings.Contains(e.Detail, want.part) {
			t.Errorf("%s: got %s (%s), want %s (%s)", trick, e.Cause, e.Detail, want.cause, want.part)
		}
		eventually(t, "end of the process", func() bool { return !alive(e.Pid) })
	}
	other.Deliver(call(1, "echo"))
	want[workers.Done](h)
}

// A plugin that sends valid HTTP/2 without a message, for ever, is ended by its deadline, and does not keep others from
// working.
func TestPluginsThatFlood(t *testing.T) {
	h := newHouse(t)
	other := h.start(h.spec("echo"))
	for i, trick := range []string{"pings", "settings", "windows", "empty-data", "go-away"} {
		spec := h.spec("")
		spec.Start.Module = pluginPrefix + trick
		spec.DeliveryTime = 500 * time.Millisecond
		w := h.start(spec)
		w.Deliver(call(1, "echo"))
		other.Deliver(call(uint64(i+1), "echo"))
		want[workers.Done](h)
		e := want[workers.Exited](h)
		if e.Cause != workers.CauseDeadline && (trick != "go-away" || e.Cause != workers.CauseCrash) {
			t.Errorf("%s: got %s (%s)", trick, e.Cause, e.Detail)
		}
	}
}

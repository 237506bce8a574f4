package testvats

import (
	"context"
	"errors"
	"strconv"

	"ocapkernel.dev/vat"
)

// session is one of the many connections that a port serves at the same time.
type session struct {
	vat.Durable
	Conn   vat.Ref
	Server *port
}

// Serve accepts connections until the channel is gone, and writes the lines of each back to it.
func (p *port) Serve(ctx context.Context, channel string) {
	vat.When(ctx, vat.Send(ctx, p.Services[channel], "accept"), p, "OnClient", channel)
}

// OnClient begins a session, and waits for the next client.
func (p *port) OnClient(ctx context.Context, conn vat.Outcome[vat.Ref], channel string) error {
	ref, err := conn.Get()
	if errors.Is(err, vat.ErrServiceGone) {
		return nil
	}
	p.Serve(ctx, channel)
	if err != nil {
		return p.hear(ctx, nil, err)
	}
	p.Sessions++
	p.Served++
	s := &session{Conn: ref, Server: p}
	s.read(ctx)
	return nil
}

func (s *session) read(ctx context.Context) {
	vat.When(ctx, vat.Send(ctx, s.Conn, "read"), s, "OnLine")
}

// OnLine answers a line. A session ends with its client.
func (s *session) OnLine(ctx context.Context, line vat.Outcome[*string]) {
	text, err := line.Get()
	if err != nil || text == nil {
		s.Server.Sessions--
		vat.Send(ctx, s.Conn, "close")
		return
	}
	vat.Send(ctx, s.Conn, "write", *text)
	s.read(ctx)
}

// Tally returns how many sessions there are, and how many there were.
func (p *port) Tally() []int { return []int{p.Sessions, p.Served} }

func number(n int) string { return strconv.Itoa(n) }

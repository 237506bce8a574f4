package ioservice_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"ocapkernel.dev/ioservice"
)

// Many clients come at once, send lines, and go in all manners. The vat sees one after the other: the lines of
// a client, in order and without those of another among them, and then its end; and each client that waits for
// answers gets its own, or the line that another client is served.
func TestClientsNeverMix(t *testing.T) {
	served(t, func(t *testing.T, cfg ioservice.Config) {
		v := openChannel(t, cfg)
		stopped := make(chan struct{})
		go func() { // the vat
			defer close(stopped)
			owner, next := "", 0
			for {
				u, err := v.read().wait()
				switch {
				case err != nil:
					return // closed
				case u.End:
					owner, next = "", 0
					continue
				}
				var who string
				var i int
				if _, err := fmt.Sscanf(u.Value, "%s %d", &who, &i); err != nil || i != next || owner != "" && who != owner {
					t.Errorf("got %q, after %d lines of client %q", u.Value, next, owner)
					return
				}
				owner, next = who, next+1
				<-v.write("echo " + u.Value) // which fails if the client is gone
			}
		}()
		var clients sync.WaitGroup
		for c := range 4 {
			dice := rand.New(rand.NewPCG(1, uint64(c)))
			clients.Go(func() {
				for n := range 50 {
					comeAndGo(t, v.dial(), fmt.Sprintf("%d/%d", c, n), dice)
				}
			})
		}
		clients.Wait()
		_ = v.Close()
		receive(t, stopped)
		for i, state := range v.k.stored() {
			if want := []string{"connected", "idle"}[i%2]; state != want {
				t.Fatalf("state %d is %s, want %s", i, state, want)
			}
		}
	})
}

// comeAndGo is the life of a client.
func comeAndGo(t *testing.T, c *client, who string, dice *rand.Rand) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	n := dice.IntN(5)
	text := ""
	for i := range n {
		text += fmt.Sprintf("%s %d\n", who, i)
	}
	if _, err := c.Write([]byte(text)); err != nil {
		return // refused
	}
	switch dice.IntN(3) {
	case 0:
		return // without waiting for anything
	case 1:
		_ = c.Conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	in := bufio.NewReader(c)
	for i := range n {
		line, err := in.ReadString('\n')
		if strings.HasSuffix(line, "another client\n") {
			return
		}
		if want := fmt.Sprintf("echo %s %d\n", who, i); line != want {
			// A refusal may be lost if it crosses the client's input.
			if i > 0 || err == nil {
				t.Errorf("client %s got %q, %v, want %q", who, line, err, want)
			}
			return
		}
	}
}

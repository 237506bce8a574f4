package control

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"strconv"
	"sync"
	"time"

	"ocapkernel.dev/errcode"
)

// Client speaks to the kernel of one state directory. Its methods may be used by many goroutines, and block
// until the kernel answers or their context ends; a context that ends does not take a request back that was
// sent. Their errors are [*Error], or the context's.
type Client struct {
	conn net.Conn
	dir  string
	// writing is held to write a line whole. It is a channel so that waiting for it can end with a context.
	writing chan struct{}
	// done is closed when the reader has ended: no answer will come any more.
	done chan struct{}

	mu struct {
		sync.Mutex
		next    uint64
		waiting map[uint64]chan<- reply
		// last is the kernel's message about the connection as a whole, usually before it hung up.
		last *rpcError
	}
}

// reply is one answer.
type reply struct {
	result json.RawMessage
	err    *rpcError
}

// Dial connects to the kernel that runs at the state directory dir. The error is errcode.NotRunning if there
// is none. The caller closes the client.
func Dial(ctx context.Context, dir string) (*Client, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, dir: dir, writing: make(chan struct{}, 1), done: make(chan struct{})}
	c.mu.waiting = make(map[uint64]chan<- reply)
	go c.read()
	return c, nil
}

// Close ends the connection; requests that wait for an answer fail with errcode.NotRunning.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Done is closed when the connection has ended, by either side.
func (c *Client) Done() <-chan struct{} { return c.done }

// Call performs any method of the protocol, also one that this package does not know. The result is
// decoded into result unless that is nil.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	if params == nil {
		params = struct{}{}
	}
	answer := make(chan reply, 1)
	c.mu.Lock()
	c.mu.next++
	id := c.mu.next
	c.mu.waiting[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.mu.waiting, id)
		c.mu.Unlock()
	}()

	line, err := appendLine(nil, struct {
		JSONRPC string `json:"jsonrpc"`
		ID      uint64 `json:"id"`
		Method  string `json:"method"`
		Params  any    `json:"params"`
	}{"2.0", id, method, params})
	if err != nil {
		return Errorf(errcode.Invalid, "%v", err)
	}
	if len(line) > MaxLineBytes {
		return Errorf(errcode.Invalid, "the request has %d bytes: at most %d", len(line), MaxLineBytes)
	}
	if err := c.write(ctx, line); err != nil {
		return err
	}
	var r reply
	select {
	case r = <-answer:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		select {
		case r = <-answer: // it came just before
		default:
			return c.lost()
		}
	}
	if r.err != nil {
		return r.err.publicError()
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.result, result); err != nil {
		return Errorf(errcode.Internal, "the kernel's answer to %s cannot be read: %v", method, err)
	}
	return nil
}

func (c *Client) lost() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.last != nil {
		return c.mu.last.publicError()
	}
	return Errorf(errcode.NotRunning, "the kernel at %s went away before it answered", c.dir)
}

// write sends one line. A line that is sent in part leaves the connection useless, so it is closed then.
func (c *Client) write(ctx context.Context, line []byte) error {
	select {
	case c.writing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.done:
		return c.lost()
	}
	defer func() { <-c.writing }()
	expired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(expired)
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
	})
	_, err := c.conn.Write(line)
	if !stop() {
		<-expired
		_ = c.conn.SetWriteDeadline(time.Time{}) // or it would apply to the next line
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		_ = c.conn.Close()
		return ctx.Err()
	default:
		<-c.done // the kernel may have sent the reason before it hung up
		return c.lost()
	}
}

// read hands answers to the callers that wait for them.
func (c *Client) read() {
	defer close(c.done)
	in := bufio.NewReaderSize(c.conn, 16<<10)
	for {
		line, err := readLine(in, maxAnswerBytes)
		if err != nil {
			break
		}
		var a struct {
			ID     json.RawMessage `json:"id"`
			Result json.RawMessage `json:"result"`
			Error  *rpcError       `json:"error"`
		}
		if json.Unmarshal(line, &a) != nil {
			break // this is not our protocol
		}
		id, err := strconv.ParseUint(string(a.ID), 10, 64)
		c.mu.Lock()
		if err != nil { // about the connection as a whole
			c.mu.last = a.Error
		} else if answer, ok := c.mu.waiting[id]; ok { // else its caller has left
			answer <- reply{result: a.Result, err: a.Error}
			delete(c.mu.waiting, id)
		}
		c.mu.Unlock()
		if err != nil {
			break
		}
	}
	_ = c.conn.Close()
}

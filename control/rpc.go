package control

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"

	"ocapkernel.dev/errcode"
)

// The numeric codes of JSON-RPC. Everything else about an error is in its data.
const (
	rpcParse    = -32700
	rpcRequest  = -32600
	rpcMethod   = -32601
	rpcParams   = -32602
	rpcInternal = -32603
	rpcKernel   = -32000
)

// maxRequestID bounds the id of a request, which the answer repeats.
const maxRequestID = 128

// request is one line from a client, after its form was checked.
type request struct {
	// id is a JSON string or number; nil in a notification, which has no answer.
	id     json.RawMessage
	method string
	params json.RawMessage
}

// rpcError is the error member of an answer.
type rpcError struct {
	Code    int        `json:"code"`
	Message string     `json:"message"`
	Data    *errorData `json:"data,omitempty"`
}

type errorData struct {
	Code    errcode.Code `json:"code"`
	Details []string     `json:"details,omitempty"`
}

// Error lets an rpcError travel as the error of a function here; it does not leave the package.
func (e *rpcError) Error() string { return e.Message }

func newRPCError(number int, code errcode.Code, format string, args ...any) *rpcError {
	return &rpcError{Code: number, Message: fmt.Sprintf(format, args...), Data: &errorData{Code: code}}
}

// parseRequest checks one line. The request's id is set, if it can be read, also if the rest is wrong.
func parseRequest(line []byte) (request, *rpcError) {
	if !utf8.Valid(line) || !json.Valid(line) {
		return request{}, newRPCError(rpcParse, errcode.Invalid, "not JSON: one request is one JSON object on one line, in UTF-8")
	}
	if first := bytes.TrimLeft(line, " \t\r"); first[0] != '{' {
		return request{}, newRPCError(rpcRequest, errcode.Invalid, "not a request: want a JSON object (batches are not supported)")
	}
	var r struct {
		JSONRPC json.RawMessage `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Method  json.RawMessage `json:"method"`
		Params  json.RawMessage `json:"params"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return request{}, newRPCError(rpcRequest, errcode.Invalid, "not a request: %v", err)
	}
	req := request{params: r.Params}
	if r.ID != nil {
		if len(r.ID) > maxRequestID || !(r.ID[0] == '"' || r.ID[0] == '-' || r.ID[0] >= '0' && r.ID[0] <= '9') {
			return request{}, newRPCError(rpcRequest, errcode.Invalid, "id must be a string or a number of at most %d bytes", maxRequestID)
		}
		req.id = r.ID
	}
	if string(r.JSONRPC) != `"2.0"` {
		return req, newRPCError(rpcRequest, errcode.Invalid, `jsonrpc must be "2.0"`)
	}
	if err := json.Unmarshal(r.Method, &req.method); err != nil || req.method == "" {
		return req, newRPCError(rpcRequest, errcode.Invalid, "method must be a string")
	}
	return req, nil
}

// parseParams reads params into the struct that p points to. Unknown members are refused: a misspelt one would
// be ignored silently. Absent params and [] stand for {}.
func parseParams(params json.RawMessage, p any) error {
	if len(params) == 0 || string(params) == "null" || string(params) == "[]" {
		params = json.RawMessage("{}")
	}
	if params[0] != '{' {
		return newRPCError(rpcParams, errcode.Invalid, "Invalid params: want an object with named members")
	}
	dec := json.NewDecoder(bytes.NewReader(params))
	dec.DisallowUnknownFields()
	if err := dec.Decode(p); err != nil {
		return newRPCError(rpcParams, errcode.Invalid, "Invalid params: %v", err)
	}
	return nil
}

// appendResult appends the answer to a request that succeeded, as a line.
func appendResult(buf []byte, id json.RawMessage, result any) ([]byte, error) {
	return appendLine(buf, struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Result  any             `json:"result"`
	}{"2.0", id, result})
}

// appendError appends the answer to a request that failed, as a line.
func appendError(buf []byte, id json.RawMessage, err error) []byte {
	line, encodeErr := appendLine(buf, struct {
		JSONRPC string          `json:"jsonrpc"`
		ID      json.RawMessage `json:"id"`
		Error   *rpcError       `json:"error"`
	}{"2.0", id, asRPCError(err)})
	if encodeErr != nil {
		panic("control: an error that is no JSON: " + encodeErr.Error()) // strings and a checked id: cannot happen
	}
	return line
}

// asRPCError gives any error the form that it has on the wire.
func asRPCError(err error) *rpcError {
	var r *rpcError
	if errors.As(err, &r) {
		return r
	}
	var e *Error
	if !errors.As(err, &e) {
		return newRPCError(rpcInternal, errcode.Internal, "%v", err)
	}
	number := rpcKernel
	switch e.Code {
	case errcode.Invalid:
		number = rpcParams
	case errcode.Internal:
		number = rpcInternal
	}
	return &rpcError{Code: number, Message: e.Message, Data: &errorData{Code: e.Code, Details: e.Details}}
}

// publicError is the reverse, at the client. A foreign server may send no data.
func (e *rpcError) publicError() *Error {
	out := &Error{Code: errcode.Internal, Message: e.Message}
	switch {
	case e.Data != nil && e.Data.Code != "":
		out.Code, out.Details = e.Data.Code, e.Data.Details
	case e.Code == rpcMethod:
		out.Code = errcode.Unsupported
	case e.Code == rpcParse, e.Code == rpcRequest, e.Code == rpcParams:
		out.Code = errcode.Invalid
	}
	return out
}

// appendLine appends v as JSON and a newline. Unlike json.Marshal it leaves <, > and & readable.
func appendLine(buf []byte, v any) ([]byte, error) {
	w := bytes.NewBuffer(buf)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return buf, err
	}
	return w.Bytes(), nil
}

// errLineTooLong is the error of readLine for a line above its bound.
var errLineTooLong = errors.New("line too long")

// readLine returns the next line without its newline, in memory of its own. A last line may lack the newline.
// It never holds more than max bytes, in whatever pieces the peer sends them.
func readLine(r *bufio.Reader, max int) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		if len(line)+len(part) > max {
			return nil, errLineTooLong
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, err
		}
	}
}

// quoteShort quotes a client's text, for an error message, and cuts it to a bearable length.
func quoteShort(s string) string {
	const most = 80
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

package control

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// The methods of the protocol.
const (
	methodStatus        = "getStatus"
	methodPS            = "ps"
	methodLaunch        = "launchSubcluster"
	methodTerminate     = "terminateSubcluster"
	methodRestart       = "restartVat"
	methodReplay        = "replayVat"
	methodSend          = "queueMessage"
	methodAwait         = "awaitTicket"
	methodAcknowledge   = "acknowledge"
	methodPoisonedList  = "poisonedList"
	methodPoisonedRetry = "poisonedRetry"
	methodPoisonedDrop  = "poisonedDrop"
	methodShutdown      = "shutdown"
	methodVersion       = "version"
)

// The params of those methods that have any.
type (
	launchParams struct {
		Path string `json:"path,omitempty"`
		// Config is the text in a JSON string, or, for programs that make a configuration, an object.
		Config json.RawMessage `json:"config"`
	}
	idParams struct {
		ID string `json:"id"`
	}
	restartParams struct {
		ID     string `json:"id"`
		Forget bool   `json:"forget,omitempty"`
	}
	// replayed is the result of a replay.
	replayed struct {
		Lines []string `json:"lines"`
	}
	sendParams struct {
		Ticket    Ticket            `json:"ticket"`
		Target    string            `json:"target"`
		Method    string            `json:"method"`
		Args      []json.RawMessage `json:"args,omitempty"`
		Wait      bool              `json:"wait,omitempty"`
		TimeoutMS int64             `json:"timeoutMs,omitempty"`
		Raw       bool              `json:"raw,omitempty"`
	}
	awaitParams struct {
		Ticket    Ticket `json:"ticket"`
		TimeoutMS int64  `json:"timeoutMs,omitempty"`
		Raw       bool   `json:"raw,omitempty"`
	}
	ticketParams struct {
		Ticket Ticket `json:"ticket"`
	}
)

// dispatch performs one request. The result is what the answer carries.
func (s *Server) dispatch(ctx context.Context, method string, params json.RawMessage) (any, error) {
	switch method {
	case methodStatus:
		if err := parseParams(params, &struct{}{}); err != nil {
			return nil, err
		}
		status, err := s.backend.Status(ctx)
		if status.Clusters == nil {
			status.Clusters = []Subcluster{}
		}
		return status, err

	case methodPS:
		if err := parseParams(params, &struct{}{}); err != nil {
			return nil, err
		}
		vats, err := s.backend.PS(ctx)
		if vats == nil {
			vats = []Vat{}
		}
		return map[string]any{"vats": vats}, err

	case methodLaunch:
		var p launchParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		r := LaunchRequest{Path: p.Path, Config: p.Config}
		switch {
		case len(p.Config) > 0 && p.Config[0] == '"':
			var text string
			if err := json.Unmarshal(p.Config, &text); err != nil {
				return nil, err
			}
			r.Config = []byte(text)
		case len(p.Config) > 0 && p.Config[0] == '{':
		default:
			return nil, Errorf(CodeInvalid, "config must be the text of a configuration, or an object")
		}
		sub, result, err := s.backend.Launch(ctx, r)
		if err != nil {
			return nil, err
		}
		value, err := toJSON(result)
		return Launched{Subcluster: sub, Result: value}, err

	case methodTerminate:
		var p idParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if !validRef("s", p.ID) {
			return nil, Errorf(CodeInvalid, "%s is not a subcluster's id, such as s1", quoteShort(p.ID))
		}
		return nil, s.backend.Terminate(ctx, p.ID)

	case methodRestart:
		var p restartParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if !validRef("v", p.ID) {
			return nil, Errorf(CodeInvalid, "%s is not a vat's id, such as v1", quoteShort(p.ID))
		}
		return nil, s.backend.RestartVat(ctx, p.ID, p.Forget)

	case methodReplay:
		var p idParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if !validRef("v", p.ID) {
			return nil, Errorf(CodeInvalid, "%s is not a vat's id, such as v1", quoteShort(p.ID))
		}
		lines, err := s.backend.ReplayVat(ctx, p.ID)
		return replayed{lines}, err

	case methodSend:
		var p sendParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		call, err := makeCall(p)
		if err != nil {
			return nil, err
		}
		return settle(ctx, p.Wait, p.TimeoutMS, p.Raw, func(ctx context.Context) (Answer, error) {
			return s.backend.Send(ctx, call)
		})

	case methodAwait:
		var p awaitParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if p.Ticket.ID == "" {
			return nil, errNoTicket()
		}
		return settle(ctx, true, p.TimeoutMS, p.Raw, func(ctx context.Context) (Answer, error) {
			return s.backend.Await(ctx, p.Ticket)
		})

	case methodAcknowledge:
		var p ticketParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if p.Ticket.ID == "" {
			return nil, errNoTicket()
		}
		return nil, s.backend.Acknowledge(ctx, p.Ticket)

	case methodPoisonedList:
		if err := parseParams(params, &struct{}{}); err != nil {
			return nil, err
		}
		list, err := s.backend.PoisonedList(ctx)
		if list == nil {
			list = []Poisoned{}
		}
		return map[string]any{"poisoned": list}, err

	case methodPoisonedRetry, methodPoisonedDrop:
		var p idParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if !validID(p.ID) {
			return nil, Errorf(CodeInvalid, "%s is not the id of a poisoned message", quoteShort(p.ID))
		}
		if method == methodPoisonedRetry {
			return nil, s.backend.PoisonedRetry(ctx, p.ID)
		}
		return nil, s.backend.PoisonedDrop(ctx, p.ID)

	case methodShutdown:
		if err := parseParams(params, &struct{}{}); err != nil {
			return nil, err
		}
		return map[string]any{"status": "shutting down"}, s.backend.Shutdown(ctx)

	case methodVersion:
		if err := parseParams(params, &struct{}{}); err != nil {
			return nil, err
		}
		return Version{Version: s.options.Version, Protocol: ProtocolVersion}, nil
	}
	return nil, newRPCError(rpcMethod, CodeUnsupported, "there is no method %s", quoteShort(method))
}

// settle gets an answer within the client's time, and gives it the form that the client asked for.
func settle(ctx context.Context, wait bool, timeoutMS int64, raw bool, get func(context.Context) (Answer, error)) (any, error) {
	timeout := MaxWait
	if timeoutMS < 0 || timeoutMS > MaxWait.Milliseconds() {
		return nil, Errorf(CodeInvalid, "timeoutMs must be from 0 to %d", MaxWait.Milliseconds())
	}
	if timeoutMS > 0 {
		timeout = time.Duration(timeoutMS) * time.Millisecond
	}
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := get(timed)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, Errorf(CodeTimeout, "the kernel did not answer in time; whether it accepted the call is not known")
	case err != nil:
		return nil, err
	case wait && answer.Status == Pending && ctx.Err() != nil:
		return nil, ctx.Err() // cut short by us: not the pending that the client asked about
	}
	return makeOutcome(answer, raw)
}

func errNoTicket() error { return Errorf(CodeInvalid, "ticket is missing") }

package control

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"ocapkernel.dev/errcode"
)

// The methods of the protocol.
const (
	methodStatus    = "getStatus"
	methodPS        = "ps"
	methodTally     = "tally"
	methodIO        = "ioList"
	methodServices  = "services"
	methodSystem    = "systemList"
	methodInspect   = "inspect"
	methodHolds     = "holds"
	methodIsRevoked = "isRevoked"
	methodLaunch    = "launchSubcluster"
	methodApply     = "applyConfig"

	methodCheckConfig      = "checkConfig"
	methodCheckSystem      = "checkSystem"
	methodReload           = "reloadSubcluster"
	methodTerminate        = "terminateSubcluster"
	methodRestart          = "restartVat"
	methodReplay           = "replayVat"
	methodStored           = "vatStore"
	methodBackup           = "backup"
	methodFindVat          = "findVat"
	methodPing             = "pingVat"
	methodTerminateVat     = "terminateVat"
	methodTerminateAllVats = "terminateAllVats"
	methodRevoke           = "revoke"
	methodSend             = "queueMessage"
	methodAwait            = "awaitTicket"
	methodAcknowledge      = "acknowledge"
	methodPoisonedList     = "poisonedList"
	methodPoisonedRetry    = "poisonedRetry"
	methodPoisonedDrop     = "poisonedDrop"
	methodCollect          = "collectGarbage"
	methodClear            = "clearState"
	methodShutdown         = "shutdown"
	methodVersion          = "version"
)

// dispatch performs one request, and returns the result for the answer.
func (s *Server) dispatch(ctx context.Context, method string, params json.RawMessage) (any, error) {
	b := s.backend
	switch method {
	case methodStatus:
		if err := noParams(params); err != nil {
			return nil, err
		}
		status, err := b.Status(ctx)
		status.Clusters = notNull(status.Clusters)
		return status, err

	case methodPS:
		return listed(ctx, params, "vats", b.PS)
	case methodTally:
		if err := noParams(params); err != nil {
			return nil, err
		}
		t, err := b.Tally(ctx)
		t.Vats = notNull(t.Vats)
		return t, err
	case methodIO:
		return listed(ctx, params, "channels", b.IO)
	case methodServices:
		return listed(ctx, params, "services", b.Services)
	case methodSystem:
		return listed(ctx, params, "systems", b.System)

	case methodHolds:
		kref, err := parseKRef(params)
		if err != nil {
			return nil, err
		}
		p, err := b.Holds(ctx, kref)
		p.Holds = notNull(p.Holds)
		return p, err

	case methodInspect:
		kref, err := parseKRef(params)
		if err != nil {
			return nil, err
		}
		i, err := b.Inspect(ctx, kref)
		i.Holders, i.Subscribers = notNull(i.Holders), notNull(i.Subscribers)
		return i, err

	case methodIsRevoked:
		kref, err := parseKRef(params)
		if err != nil {
			return nil, err
		}
		return b.IsRevoked(ctx, kref)

	case methodRevoke:
		kref, err := parseKRef(params)
		if err == nil {
			err = CheckObject(kref)
		}
		if err != nil {
			return nil, err
		}
		return nil, b.Revoke(ctx, kref)

	case methodLaunch:
		var p launchParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		config, err := configText(p.Config)
		if err != nil {
			return nil, err
		}
		sub, result, err := b.Launch(ctx, LaunchRequest{Path: p.Path, Config: config})
		if err != nil {
			return nil, err
		}
		return NewLaunched(sub, result), nil

	case methodApply:
		var p applyParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		config, err := configText(p.Config)
		if err == nil && p.ID != "" {
			err = CheckSubcluster(p.ID)
		}
		if err == nil && p.Replace != "" {
			err = CheckSubcluster(p.Replace)
		}
		if err != nil {
			return nil, err
		}
		applied, err := b.Apply(ctx, ApplyRequest{Subcluster: p.ID, Path: p.Path, Config: config, DryRun: p.DryRun, Replace: p.Replace})
		applied.Changes, applied.Vats, applied.Services = notNull(applied.Changes), notNull(applied.Vats), notNull(applied.Services)
		return applied, err

	case methodCheckConfig, methodCheckSystem:
		var p launchParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		config, err := configText(p.Config)
		if err != nil {
			return nil, err
		}
		r := LaunchRequest{Path: p.Path, Config: config}
		if method == methodCheckSystem {
			return nil, b.CheckSystem(ctx, r)
		}
		return nil, b.CheckConfig(ctx, r)

	case methodReload:
		p, err := parseReload(params)
		if err != nil {
			return nil, err
		}
		var now []Subcluster
		if p.All {
			now, err = b.ReloadAll(ctx)
		} else {
			now, err = b.Reload(ctx, p.ID)
		}
		return map[string]any{"subclusters": notNull(now)}, err

	case methodTerminate:
		return onID(ctx, params, CheckSubcluster, b.Terminate)

	case methodRestart:
		var p restartParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if err := CheckVat(p.ID); err != nil {
			return nil, err
		}
		return nil, b.RestartVat(ctx, p.ID, p.Forget)

	case methodStored:
		q, err := parseStored(params)
		if err != nil {
			return nil, err
		}
		page, err := b.Stored(ctx, q)
		page.Rows = notNull(page.Rows)
		return page, err

	case methodBackup:
		q, err := parseBackup(params)
		if err != nil {
			return nil, err
		}
		return b.Backup(ctx, q)

	case methodFindVat:
		id, err := parseID(params, CheckVat)
		if err != nil {
			return nil, err
		}
		return b.FindVat(ctx, id)

	case methodReplay:
		id, err := parseID(params, CheckVat)
		if err != nil {
			return nil, err
		}
		lines, err := b.ReplayVat(ctx, id)
		return replayed{lines}, err

	case methodPing:
		var p pingParams
		if err := parseParams(params, &p); err != nil {
			return nil, err
		}
		if err := CheckVat(p.ID); err != nil {
			return nil, err
		}
		if p.TimeoutMS < 0 || p.TimeoutMS > MaxWait.Milliseconds() {
			return nil, Errorf(errcode.Invalid, "timeoutMs must be from 0 to %d", MaxWait.Milliseconds())
		}
		if p.TimeoutMS > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, time.Duration(p.TimeoutMS)*time.Millisecond)
			defer cancel()
		}
		return b.PingVat(ctx, p.ID)

	case methodTerminateVat:
		return onID(ctx, params, CheckVat, b.TerminateVat)
	case methodTerminateAllVats:
		return done(ctx, params, b.TerminateAllVats)

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
			return b.Send(ctx, call)
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
			return b.Await(ctx, p.Ticket)
		})

	case methodAcknowledge:
		ticket, err := parseTicket(params)
		if err != nil {
			return nil, err
		}
		return nil, b.Acknowledge(ctx, ticket)

	case methodPoisonedList:
		p, err := parsePage(params)
		if err == nil && p.After != "" {
			err = CheckPoisoned(p.After)
		}
		if err != nil {
			return nil, err
		}
		list, more, err := b.PoisonedList(ctx, p.After, p.Limit)
		return poisonedPage{notNull(list), more}, err
	case methodPoisonedRetry:
		return onID(ctx, params, CheckPoisoned, b.PoisonedRetry)
	case methodPoisonedDrop:
		return onID(ctx, params, CheckPoisoned, b.PoisonedDrop)

	case methodCollect:
		var p collectParams
		err := parseParams(params, &p)
		if err == nil && p.ID != "" {
			err = CheckVat(p.ID)
		}
		if err != nil {
			return nil, err
		}
		c, err := b.CollectGarbage(ctx, p.ID)
		c.Asked, c.Busy = notNull(c.Asked), notNull(c.Busy)
		return c, err
	case methodClear:
		return done(ctx, params, b.ClearState)

	case methodShutdown:
		if err := noParams(params); err != nil {
			return nil, err
		}
		return map[string]any{"status": "shutting down"}, b.Shutdown(ctx)

	case methodVersion:
		if err := noParams(params); err != nil {
			return nil, err
		}
		return Version{Version: s.options.Version, Protocol: ProtocolVersion}, nil
	}
	return nil, newRPCError(rpcMethod, errcode.Unsupported, "there is no method %s", quoteShort(method))
}

// listed performs a method without params that returns a list under a name.
func listed[T any](ctx context.Context, params json.RawMessage, name string, list func(context.Context) ([]T, error)) (any, error) {
	if err := noParams(params); err != nil {
		return nil, err
	}
	things, err := list(ctx)
	return map[string]any{name: notNull(things)}, err
}

// done performs a method without params and without a result.
func done(ctx context.Context, params json.RawMessage, do func(context.Context) error) (any, error) {
	if err := noParams(params); err != nil {
		return nil, err
	}
	return nil, do(ctx)
}

// onID performs a method without a result on the thing of an id.
func onID(ctx context.Context, params json.RawMessage, check func(string) error, do func(context.Context, string) error) (any, error) {
	id, err := parseID(params, check)
	if err != nil {
		return nil, err
	}
	return nil, do(ctx, id)
}

// notNull returns an empty list in place of nil: in JSON they differ.
func notNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// settle gets an answer within the client's time, and gives it the form that the client wants.
func settle(ctx context.Context, wait bool, timeoutMS int64, raw bool, get func(context.Context) (Answer, error)) (any, error) {
	timeout := MaxWait
	if timeoutMS < 0 || timeoutMS > MaxWait.Milliseconds() {
		return nil, Errorf(errcode.Invalid, "timeoutMs must be from 0 to %d", MaxWait.Milliseconds())
	}
	if timeoutMS > 0 {
		timeout = time.Duration(timeoutMS) * time.Millisecond
	}
	timed, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := get(timed)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, Errorf(errcode.Timeout, "the kernel did not answer in time; whether it accepted the call is not known")
	case err != nil:
		return nil, err
	case wait && answer.Status == Pending && ctx.Err() != nil:
		return nil, ctx.Err() // cut short by the server: not the pending that the client waits for
	}
	return makeOutcome(answer, raw)
}

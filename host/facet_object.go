package host

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// facetObject is the facet as a service object. It performs the methods itself that must be one with the commit which answers
// them, and those whose answer is a reference; all others are those of facet.
type facetObject struct {
	service.Object
	*core
	subs    *subclusters
	objects *objects
	names   *directory
}

// facetMethods are all of its methods, in the order of their names. Each is done again if the kernel died during it: a
// launch, a reload, and a message that is sent on, end their call in the commit that does it, so that a call that is
// still there was never done.
var facetMethods = []string{
	"getPresence", "getStatus", "getSubcluster", "getSubclusters", "getSystemSubclusterRoot", "isRevoked", "launchSubcluster",
	"ping", "pingVat", "queueMessage", "reloadSubcluster", "reset", "restartVat", "revoke", "terminateSubcluster", "terminateVat",
}

// Idempotent is part of service.Idempotent.
func (o *facetObject) Idempotent(method string) bool {
	return slices.Contains(facetMethods, method)
}

// Begin is part of service.Object. It runs in the loop.
func (o *facetObject) Begin(ctx context.Context, c service.Call, reply func(service.Reply)) {
	method, args, err := capdata.DecodeCall(c.MethArgs.Body, len(c.MethArgs.Slots))
	if err == nil && !slices.Contains(facetMethods, method) {
		reply(service.Fail(fmt.Errorf("%s has no method %.80q; it has %s", FacetName, method, strings.Join(facetMethods, ", "))))
		return
	}
	if err == nil {
		switch method {
		case "launchSubcluster":
			o.launch(ctx, c, args, reply)
			return
		case "queueMessage":
			o.queue(c, args, reply)
			return
		case "reloadSubcluster":
			o.reload(c, args, reply)
			return
		case "getPresence":
			o.presence(args, reply)
			return
		case "getSystemSubclusterRoot":
			o.systemRoot(args, reply)
			return
		}
	}
	o.Object.Begin(ctx, c, reply)
}

// newFacet makes the facet as a service object, and gives it the owners that it calls.
func newFacet(op *operator) (service.Object, error) {
	methods, err := service.New(&facet{op, op.subs, op.vats}, service.Name(FacetName), service.IdempotentMethods(
		"ping", "getStatus", "getSubclusters", "getSubcluster", "pingVat", "isRevoked", "terminateSubcluster", "restartVat", "terminateVat", "revoke", "reset"))
	if err != nil {
		return nil, err
	}
	return &facetObject{methods, op.core, op.subs, op.objects, op.names}, nil
}

// parseCallID is the inverse of callID.String.
func parseCallID(s string) callID {
	kref, n, _ := strings.Cut(s, ".")
	number, _ := strconv.ParseUint(n, 10, 64) // we made it
	return callID{Service: kernel.KRef(kref), N: number}
}

// wrong rejects a call with the signature of the method.
func wrong(signature string) service.Reply {
	return service.Fail(fmt.Errorf("%s.%s: wrong number or type of arguments", FacetName, signature))
}

// launch launches a subcluster from a configuration given as a record. The launch answers the call, in the
// commit in which it succeeds or fails.
func (o *facetObject) launch(ctx context.Context, c service.Call, args []any, reply func(service.Reply)) {
	if len(args) != 1 {
		reply(wrong("launchSubcluster(config)"))
		return
	}
	text, err := capdata.ToJSON(args[0], func(i int) string { return c.MethArgs.Slots[i] })
	if err != nil {
		reply(service.Fail(err))
		return
	}
	id := parseCallID(c.ID)
	o.aside(func() {
		cfg, err := o.subs.parse(ctx, text)
		if err != nil {
			reply(service.Fail(err))
			return
		}
		o.later(func() {
			if ctx.Err() != nil {
				return
			}
			o.subs.launch(launch{cfg: cfg, by: id}, func(_ kernel.Subcluster, err error) {
				if _, settled := err.(*LaunchError); err != nil && !settled { // it has not begun
					reply(service.Fail(err))
				}
			})
		})
	})
}

// queue sends a message whose result becomes the result of the call, in one commit.
func (o *facetObject) queue(c service.Call, args []any, reply func(service.Reply)) {
	const signature = "queueMessage(target, method, args)"
	if len(args) != 3 {
		reply(wrong(signature))
		return
	}
	method, ok := args[1].(string)
	list, isList := args[2].([]any)
	var target kernel.KRef
	switch t := args[0].(type) {
	case capdata.Remotable:
		target = kernel.KRef(c.MethArgs.Slots[t.Slot])
	case capdata.Promise:
		target = kernel.KRef(c.MethArgs.Slots[t.Slot])
	case string:
		target, _ = kernel.ParseKRef(t)
	}
	if !ok || !isList || target == "" {
		reply(wrong(signature))
		return
	}
	body, slots, err := encodeWith(method, list, c.MethArgs.Slots)
	if err != nil {
		reply(service.Fail(fmt.Errorf("%s.%s: %w", FacetName, signature, err)))
		return
	}
	id := parseCallID(c.ID)
	var commit kernel.Commit
	err = o.isolated(func() (err error) {
		commit, err = o.machine.Forward(id, target, kernel.Data{Body: body, Slots: slots}, o.nowMillis())
		return err
	})
	o.objects.forgetCall(id)
	switch refusal := (*kernel.Refusal)(nil); {
	case err == nil:
		o.apply(commit)
	case !errors.As(err, &refusal):
		o.objects.callFailed(id, err)
	}
}

// encodeWith encodes a call whose arguments refer to some of the slots of another message.
func encodeWith(method string, args []any, slots []string) (body string, used []kernel.KRef, err error) {
	text, err := capdata.ToJSON(args, func(i int) string { return slots[i] })
	if err != nil {
		return "", nil, err
	}
	index := map[string]int{}
	v, err := capdata.FromJSON(text, func(kref string) (int, error) {
		i, known := index[kref]
		if !known {
			i = len(used)
			index[kref] = i
			used = append(used, kernel.KRef(kref))
		}
		return i, nil
	})
	if err != nil {
		return "", nil, err
	}
	body, err = capdata.EncodeCall(method, v.([]any))
	return body, used, err
}

// reload loads one subcluster anew. As with launch, the machine answers the call, in the commit in which the new
// one runs, or in that which gives up.
func (o *facetObject) reload(c service.Call, args []any, reply func(service.Reply)) {
	which := ""
	if len(args) == 1 {
		which, _ = args[0].(string)
	}
	if which == "" {
		reply(wrong("reloadSubcluster(id)"))
		return
	}
	id := parseCallID(c.ID)
	if c.Again {
		pending, err := o.machine.Reloads()
		if err != nil {
			o.refuse(err, func(err error) { reply(service.Fail(err)) })
			return
		}
		if slices.ContainsFunc(pending, func(r kernel.Reload) bool { return r.By == id }) {
			return // an earlier kernel has begun it, and this one goes on with it
		}
	}
	s, err := o.names.subNamed(which)
	switch {
	case err != nil && codeOf(err) != errcode.NotFound:
		o.refuse(err, func(err error) { reply(service.Fail(err)) })
	case err != nil || s.State != kernel.SubRunning:
		reply(service.Fail(fmt.Errorf("there is no running subcluster %.80q", which)))
	default:
		o.subs.reload(s, id, o.subs.programs(), func(_ kernel.Subcluster, err error) {
			if refusal, ok := err.(*kernel.Refusal); ok { // it has not begun
				reply(service.Fail(coded(refusal)))
			}
		})
	}
}

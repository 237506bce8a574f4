package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/cluster"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

// FacetName is the name of the kernel's own service, for system subclusters: docs/system.md describes it.
const FacetName = "kernelFacet"

// facet gives vats the operations of the host. Its methods wait for the loop, as every caller does; three of them must be
// one with the commit that answers them, and are performed by facetObject.
type facet struct{ k *Shell }

// facetObject is the facet as a service object.
type facetObject struct {
	service.Object
	k *Shell
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

// newFacet makes the facet as a service object.
func newFacet(s *Shell) (service.Object, error) {
	methods, err := service.New(&facet{s}, service.Name(FacetName), service.IdempotentMethods(
		"ping", "getStatus", "getSubclusters", "getSubcluster", "pingVat", "isRevoked", "terminateSubcluster", "restartVat", "terminateVat", "revoke", "reset"))
	if err != nil {
		return nil, err
	}
	return &facetObject{methods, s}, nil
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

// kernelObject is the interface name of a reference that the facet makes, unless the caller gives one.
const kernelObject = "kernelObject"

// reference is the reply that is a reference and nothing else.
func reference(kref kernel.KRef, iface string) service.Reply {
	body, err := capdata.Encode(capdata.Remotable{Slot: 0, Iface: "Alleged: " + iface})
	if err != nil {
		return service.Fail(err)
	}
	return service.Reply{Value: service.Data{Body: body, Slots: []string{string(kref)}}}
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
	o.k.aside(func() {
		cfg, err := o.k.subs.parse(ctx, text)
		if err != nil {
			reply(service.Fail(err))
			return
		}
		o.k.later(func() {
			if ctx.Err() != nil {
				return
			}
			o.k.subs.launch(launch{cfg: cfg, by: id}, func(_ kernel.Subcluster, err error) {
				if _, settled := err.(*LaunchError); err != nil && !settled { // it has not begun
					reply(service.Fail(err))
				}
			})
		})
	})
}

// parse reads a configuration that a vat gives. Paths in it are relative to the declaration of the system
// subclusters.
func (ss *subclusters) parse(ctx context.Context, text []byte) (*cluster.Config, error) {
	name := "launchSubcluster"
	if ss.cfg.System != nil {
		name = ss.cfg.System.Source
	}
	cfg, err := cluster.Parse(name, text)
	if ss.cfg.CheckConfig != nil {
		err = ss.cfg.CheckConfig(ctx, cfg, err)
	}
	return cfg, err
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
	err = o.k.isolated(func() (err error) {
		commit, err = o.k.machine.Forward(id, target, kernel.Data{Body: body, Slots: slots}, nowMillis())
		return err
	})
	o.k.objects.forgetCall(id)
	switch refusal := (*kernel.Refusal)(nil); {
	case err == nil:
		o.k.apply(commit)
	case !errors.As(err, &refusal):
		o.k.objects.callFailed(id, err)
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

// presence makes a reference of a name. iface is the interface name of the reference; it proves nothing.
func (o *facetObject) presence(args []any, reply func(service.Reply)) {
	const maxIface = 256
	name, iface, ok := "", kernelObject, false
	if len(args) == 1 || len(args) == 2 {
		name, ok = args[0].(string)
	}
	if _, undefined := at(args, 1).(capdata.Undefined); len(args) == 2 && !undefined {
		var isText bool
		iface, isText = args[1].(string)
		ok = ok && isText && len(iface) <= maxIface
	}
	kref, isRef := kernel.ParseKRef(name)
	if !ok || !isRef || kref.IsPromise() {
		reply(wrong("getPresence(kref, iface?)"))
		return
	}
	reply(reference(kref, iface))
}

// at is an argument, nil if there is none.
func at(args []any, i int) any {
	if i < len(args) {
		return args[i]
	}
	return nil
}

func (o *facetObject) systemRoot(args []any, reply func(service.Reply)) {
	name := ""
	if len(args) == 1 {
		name, _ = args[0].(string)
	}
	s, found, err := o.k.machine.SystemNamed(name)
	if err != nil {
		o.k.refuse(err, func(err error) { reply(service.Fail(err)) })
		return
	}
	if found && s.State == kernel.SubRunning {
		reply(reference(s.Root, kernelObject))
		return
	}
	reply(service.Fail(fmt.Errorf("there is no running system subcluster %.80q", name)))
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
		pending, err := o.k.machine.Reloads()
		if err != nil {
			o.k.refuse(err, func(err error) { reply(service.Fail(err)) })
			return
		}
		if slices.ContainsFunc(pending, func(r kernel.Reload) bool { return r.By == id }) {
			return // an earlier kernel has begun it, and this one goes on with it
		}
	}
	s, err := o.k.names.subNamed(which)
	switch {
	case err != nil && codeOf(err) != errcode.NotFound:
		o.k.refuse(err, func(err error) { reply(service.Fail(err)) })
	case err != nil || s.State != kernel.SubRunning:
		reply(service.Fail(fmt.Errorf("there is no running subcluster %.80q", which)))
	default:
		o.k.subs.reload(s, id, o.k.subs.programs(), func(_ kernel.Subcluster, err error) {
			if refusal, ok := err.(*kernel.Refusal); ok { // it has not begun
				reply(service.Fail(coded(refusal)))
			}
		})
	}
}

// facetStatus is the answer of getStatus.
type facetStatus struct {
	Epoch       string            `json:"epoch"`
	Cranks      uint64            `json:"cranks"`
	DiskFull    bool              `json:"diskFull"`
	Subclusters []facetSubcluster `json:"subclusters"`
	Vats        []facetVat        `json:"vats"`
}

// facetVat is a vat, as getStatus lists it.
type facetVat struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Subcluster string `json:"subclusterId"`
}

// facetCluster is a subcluster with the configuration that it was launched with, as getSubcluster describes it.
type facetCluster struct {
	facetSubcluster
	Config json.RawMessage `json:"config"`
}

type facetSubcluster struct {
	ID     string            `json:"subcluster"`
	Root   string            `json:"root"`
	State  string            `json:"state"`
	System string            `json:"system,omitempty"`
	Vats   map[string]string `json:"vats"`
}

func facetSub(s kernel.Subcluster) facetSubcluster {
	out := facetSubcluster{ID: string(s.ID), Root: string(s.Root), State: s.State.String(), System: s.System, Vats: map[string]string{}}
	for _, v := range s.Vats {
		out.Vats[v.Name] = string(v.Vat)
	}
	return out
}

// Ping answers.
func (f *facet) Ping() string { return "pong" }

// GetStatus describes the kernel.
func (f *facet) GetStatus(ctx context.Context) (facetStatus, error) {
	s, err := f.k.operator.Status(ctx)
	out := facetStatus{Epoch: s.Epoch, Cranks: s.Cranks, DiskFull: s.DiskFull, Subclusters: []facetSubcluster{}, Vats: []facetVat{}}
	for _, sub := range s.Subclusters {
		out.Subclusters = append(out.Subclusters, facetSub(sub))
		if sub.State.Leaving() {
			continue // of its vats some are removed already
		}
		for _, v := range sub.Vats {
			out.Vats = append(out.Vats, facetVat{string(v.Vat), v.Name, string(sub.ID)})
		}
	}
	return out, coded(err)
}

// GetSubclusters lists the subclusters.
func (f *facet) GetSubclusters(ctx context.Context) ([]facetSubcluster, error) {
	s, err := f.GetStatus(ctx)
	return s.Subclusters, err
}

// GetSubcluster describes one subcluster, with its configuration; null if there is none.
func (f *facet) GetSubcluster(ctx context.Context, id string) (*facetCluster, error) {
	s, err := subID(id)
	if err != nil {
		return nil, err
	}
	sub, cfg, err := f.k.subs.subclusterConfig(ctx, s)
	if err != nil || sub == nil {
		return nil, coded(err)
	}
	out := &facetCluster{facetSubcluster: facetSub(*sub), Config: json.RawMessage("null")}
	if cfg != nil { // it is being removed
		out.Config, err = cfg.JSON()
	}
	return out, err
}

// subclusterConfig returns a subcluster and the configuration that it was launched with; both are nil if there is none.
func (ss *subclusters) subclusterConfig(ctx context.Context, id kernel.SubID) (*kernel.Subcluster, *cluster.Config, error) {
	var cfg *cluster.Config
	sub, err := look(ctx, ss.core, func() (*kernel.Subcluster, error) {
		sub, found, err := ss.machine.Subcluster(id)
		if err != nil || !found {
			return nil, err
		}
		b, found, err := ss.machine.Config(id)
		if err == nil && found {
			cfg, err = cluster.UnmarshalStoredConfig(b)
		}
		return &sub, err
	})
	return sub, cfg, err
}

func subID(id string) (kernel.SubID, error) {
	s, ok := kernel.ParseSubID(id)
	if !ok {
		return "", fmt.Errorf("%.80q is no subcluster's id: want s1", id)
	}
	return s, nil
}

// TerminateSubcluster removes a subcluster, and answers when nothing is left of it.
func (f *facet) TerminateSubcluster(ctx context.Context, id string) error {
	s, err := subID(id)
	if err != nil {
		return err
	}
	err = f.k.subs.Terminate(ctx, s)
	if c, _ := service.Caller(ctx); c.Again && codeOf(err) == errcode.NotFound {
		return nil // it was done, and the answer was lost with the kernel
	}
	return coded(err)
}

func vatID(id string) (kernel.VatID, error) {
	v, ok := kernel.ParseVatID(id)
	if !ok {
		return "", fmt.Errorf("%.80q is no vat's id: want v1", id)
	}
	return v, nil
}

// RestartVat gives a vat a fresh worker; see [Shell.Restart].
func (f *facet) RestartVat(ctx context.Context, id string) error {
	v, err := vatID(id)
	if err != nil {
		return err
	}
	return coded(f.k.vats.Restart(ctx, v, false))
}

// TerminateVat ends one vat.
func (f *facet) TerminateVat(ctx context.Context, id string) error {
	v, err := vatID(id)
	if err != nil {
		return err
	}
	err = f.k.operator.TerminateVat(ctx, v)
	if c, _ := service.Caller(ctx); c.Again && codeOf(err) == errcode.NotFound {
		return nil
	}
	return coded(err)
}

// facetPing is how long a vat may take for a sign of life that a vat has asked for.
const facetPing = 5 * time.Second

// PingVat asks the worker of a vat, if it has one.
func (f *facet) PingVat(ctx context.Context, id string) (string, error) {
	v, err := vatID(id)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, facetPing)
	defer cancel()
	s, err := f.k.operator.PingVat(ctx, v)
	return s, coded(err)
}

// Revoke makes an object refuse every message, given the object or its name.
func (f *facet) Revoke(ctx context.Context, object json.RawMessage) error {
	kref, err := f.object(object)
	if err != nil {
		return err
	}
	return coded(f.k.operator.Revoke(ctx, kref))
}

// IsRevoked reports whether an object is revoked.
func (f *facet) IsRevoked(ctx context.Context, object json.RawMessage) (bool, error) {
	kref, err := f.object(object)
	if err != nil {
		return false, err
	}
	revoked, err := f.k.operator.IsRevoked(ctx, kref)
	return revoked, coded(err)
}

// object reads a reference, or the name of one.
func (f *facet) object(text json.RawMessage) (kernel.KRef, error) {
	var name string
	if json.Unmarshal(text, &name) != nil {
		var ref service.Ref
		if err := json.Unmarshal(text, &ref); err != nil {
			return "", fmt.Errorf("want an object, or its name such as ko4")
		}
		name = ref.String()
	}
	kref, ok := kernel.ParseKRef(name)
	if !ok {
		return "", fmt.Errorf("%.80q is no object's name: want ko4", name)
	}
	return kref, nil
}

// Reset removes all subclusters and begins another epoch; see [Shell.Reset].
func (f *facet) Reset(ctx context.Context) error { return coded(f.k.subs.Reset(ctx)) }

// coded gives a refusal the form that vats branch on, as far as its code is one that they know.
func coded(err error) error {
	r, ok := err.(*kernel.Refusal)
	switch {
	case !ok:
		return err
	case slices.Contains(errcode.Rejections(), r.Code):
		return &service.Error{Code: r.Code, Message: r.Detail}
	}
	return errors.New(r.Detail)
}

func codeOf(err error) errcode.Code {
	if r, ok := err.(*kernel.Refusal); ok {
		return r.Code
	}
	return ""
}

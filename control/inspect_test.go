package control_test

import (
	"context"
	"encoding/json"
	"testing"

	"ocapkernel.dev/control"
	"ocapkernel.dev/control/controltest"
	"ocapkernel.dev/errcode"
)

// launched returns a client of a kernel with one subcluster that has a channel.
func launched(t *testing.T, fake *controltest.Fake) *control.Client {
	t.Helper()
	client := dial(t, serve(t, fake, control.ServerOptions{}))
	if _, err := client.Launch(context.Background(), control.LaunchRequest{Path: "/c.json", Config: []byte("channel")}); err != nil {
		t.Fatal(err)
	}
	return client
}

func TestChannelsAndServices(t *testing.T) {
	ctx := context.Background()
	client := launched(t, controltest.New())
	channels, err := client.IO(ctx)
	check(t, "channels", channels, err, []control.Channel{{
		Name: "console", Subcluster: "s1", Type: "socket", Direction: "inout", Unit: "line", Where: "/run/s1.sock", Client: true, Pending: 1, Queued: 2,
	}})
	services, err := client.Services(ctx)
	check(t, "services", services, err, []control.Service{
		{Name: "io:s1:console", Registered: true, Subcluster: "s1", Pending: 1, Queued: 2},
		{Name: "kernelFacet", KRef: controltest.Facet, SystemOnly: true, Registered: true},
		{Name: "ticker", KRef: "ko902", Queued: 3},
	})
	check(t, "terminate", struct{}{}, client.Terminate(ctx, "s1"), struct{}{})
	channels, err = client.IO(ctx)
	check(t, "channels of nobody", channels, err, []control.Channel{})
}

func TestSystemSubclusters(t *testing.T) {
	ctx := context.Background()
	fake := controltest.New()
	client := dial(t, serve(t, fake, control.ServerOptions{}))
	fake.Declare(false, controltest.Declaration{Name: "bank", Config: "1"}, controltest.Declaration{Name: "door", Config: "1"})
	fake.Declare(false, controltest.Declaration{Name: "bank", Config: "2"}) // as the next run does
	list, err := client.System(ctx)
	check(t, "list", list, err, []control.System{
		{Name: "bank", Subcluster: "s1", Root: "ko1", State: control.SystemRunning, Declared: true, Changed: true},
		{Name: "door", Subcluster: "s2", Root: "ko2", State: control.SystemSuspended},
	})
	vats, err := client.PS(ctx)
	if err != nil || len(vats) != 2 || vats[1].State != control.VatSuspended {
		t.Errorf("got %+v, %v, want the second suspended", vats, err)
	}

	now, err := client.Reload(ctx, "bank")
	if err != nil || len(now) != 1 || now[0].ID != "s3" || now[0].System != "bank" {
		t.Errorf("got %+v, %v, want bank as s3", now, err)
	}
	list, err = client.System(ctx)
	if err != nil || len(list) != 2 || list[0].Subcluster != "s3" || list[0].Changed {
		t.Errorf("got %+v, %v, want it to run what is declared", list, err)
	}
	_, err = client.Reload(ctx, "door")
	checkCode(t, "reload what is suspended", err, errcode.Conflict)
	_, err = client.Reload(ctx, "s9")
	checkCode(t, "reload", err, errcode.NotFound)
	_, err = client.Reload(ctx, "../x")
	checkCode(t, "reload", err, errcode.Invalid)
	_, err = client.Reload(ctx, "")
	checkCode(t, "reload without a name", err, errcode.Invalid)
	now, err = client.ReloadAll(ctx)
	if err != nil || len(now) != 1 || now[0].ID != "s4" {
		t.Errorf("got %+v, %v, want all that is declared", now, err)
	}
}

func TestRevocation(t *testing.T) {
	ctx := context.Background()
	client := launched(t, controltest.New())
	revoked, err := client.IsRevoked(ctx, "ko1")
	check(t, "before", revoked, err, false)
	for range 2 {
		check(t, "revoke", struct{}{}, client.Revoke(ctx, "ko1"), struct{}{})
	}
	revoked, err = client.IsRevoked(ctx, "ko1")
	check(t, "after", revoked, err, true)
	o, err := client.Send(ctx, control.SendRequest{Target: "s1", Method: "echo", Wait: true})
	if err != nil || o.Status != control.Rejected || o.Error.Code != errcode.Revoked {
		t.Errorf("got %+v, %v, want REVOKED", o, err)
	}
	checkCode(t, "promise", client.Revoke(ctx, "kp1"), errcode.Invalid)
	checkCode(t, "vat", client.Revoke(ctx, "v1"), errcode.Invalid)
	checkCode(t, "unknown", client.Revoke(ctx, "ko77"), errcode.NotFound)
}

func TestInspection(t *testing.T) {
	ctx := context.Background()
	fake := controltest.New()
	client := launched(t, fake)
	o, err := client.Inspect(ctx, "ko1")
	check(t, "object", o, err, control.Inspection{
		Ref: "ko1", Kind: control.KindObject, Owner: "v1", OwnerName: "root", Reachable: 1, Recognizable: 1,
		Holders: []control.Holder{{Vat: "v1", Name: "root", VRef: "o+0", Reachable: true}}, Subscribers: []string{},
	})
	sent, err := client.Send(ctx, control.SendRequest{Target: "s1", Method: "hang"})
	if err != nil {
		t.Fatal(err)
	}
	o, err = client.Inspect(ctx, "kp1")
	check(t, "promise", o, err, control.Inspection{
		Ref: "kp1", Kind: control.KindPromise, State: control.PromiseUnresolved, Decider: "v1", Reachable: 1, Recognizable: 1,
		Holders: []control.Holder{{Vat: "v1", Name: "root", VRef: "p-1", Reachable: true}}, Subscribers: []string{"v1"}, Parked: 1,
	})
	fake.Release()
	o, err = client.Inspect(ctx, "kp1")
	check(t, "settled promise", o, err, control.Inspection{
		Ref: "kp1", Kind: control.KindPromise, State: control.PromiseFulfilled, Reachable: 1, Recognizable: 1,
		Holders: []control.Holder{}, Subscribers: []string{}, Value: json.RawMessage("null"),
	})
	check(t, "acknowledge", struct{}{}, client.Acknowledge(ctx, sent.Ticket), struct{}{})
	collected, err := client.CollectGarbage(ctx, "")
	check(t, "collect", collected, err, control.Collected{Asked: []string{}, Busy: []string{}})
	collected, err = client.CollectGarbage(ctx, "v1")
	check(t, "collect a vat", collected, err, control.Collected{Asked: []string{"v1"}, Busy: []string{}})
	_, err = client.CollectGarbage(ctx, "v 1")
	checkCode(t, "collect no vat", err, errcode.Invalid)
	tally, err := client.Tally(ctx)
	check(t, "tally", tally, err, control.Tally{Vats: []control.VatTally{{ID: "v1", Exported: 1}}})
	_, err = client.Inspect(ctx, "kp1")
	checkCode(t, "collected", err, errcode.NotFound)
	_, err = client.Inspect(ctx, "ko01")
	checkCode(t, "no kref", err, errcode.Invalid)
}

func TestVatsOneByOne(t *testing.T) {
	ctx := context.Background()
	client := launched(t, controltest.New())
	answer, err := client.PingVat(ctx, "v1")
	check(t, "ping", answer, err, "pong")
	check(t, "terminate", struct{}{}, client.TerminateVat(ctx, "v1"), struct{}{})
	_, err = client.PingVat(ctx, "v1")
	checkCode(t, "ping", err, errcode.NotFound)
	checkCode(t, "terminate", client.TerminateVat(ctx, "v1"), errcode.NotFound)
	checkCode(t, "terminate", client.TerminateVat(ctx, "s1"), errcode.Invalid)
	status, err := client.Status(ctx)
	if err != nil || len(status.Clusters) != 1 || len(status.Clusters[0].Vats) != 0 {
		t.Errorf("got %+v, %v, want the subcluster without its vat", status.Clusters, err)
	}
	if _, err := client.Launch(ctx, control.LaunchRequest{Config: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	check(t, "terminate all", struct{}{}, client.TerminateAllVats(ctx), struct{}{})
	vats, err := client.PS(ctx)
	check(t, "vats", vats, err, []control.Vat{})
}

func TestClearedStateKnowsNoTicket(t *testing.T) {
	ctx := context.Background()
	client := launched(t, controltest.New())
	o, err := client.Send(ctx, control.SendRequest{Target: "s1", Method: "count", Wait: true})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "clear", struct{}{}, client.ClearState(ctx), struct{}{})
	status, err := client.Status(ctx)
	if err != nil || status.Epoch == o.Ticket.Epoch || status.Subclusters != 0 || status.Vats != 0 {
		t.Errorf("got %+v, %v, want nothing, in a new epoch", status, err)
	}
	_, err = client.Send(ctx, control.SendRequest{Ticket: o.Ticket, Target: "ko1", Method: "count", Wait: true})
	checkCode(t, "the same call", err, errcode.Unknown)
}

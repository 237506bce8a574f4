package timer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
)

// open makes an object of a kind.
func open(t *testing.T, kinds map[string]service.Kind, kind string, o service.Opening) service.Object {
	t.Helper()
	object, err := kinds[kind].Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return object
}

// begin begins a call that was made at a time, and returns where its reply will be.
func begin(ctx context.Context, o service.Object, at time.Time, methArgs service.Data) <-chan service.Reply {
	replies := make(chan service.Reply, 2)
	o.Begin(ctx, service.Call{MethArgs: methArgs, At: at}, func(r service.Reply) { replies <- r })
	return replies
}

// message is a call of a method; an argument that is a string is the name of an object.
func message(t *testing.T, method string, args ...any) service.Data {
	t.Helper()
	var slots []string
	for i, a := range args {
		if name, ok := a.(string); ok {
			args[i] = capdata.Remotable{Slot: len(slots), Iface: "Alleged: it"}
			slots = append(slots, name)
		}
	}
	body, err := capdata.EncodeCall(method, args)
	if err != nil {
		t.Fatal(err)
	}
	return service.Data{Body: body, Slots: slots}
}

// refusal is the text of a rejection, empty if the call was fulfilled.
func refusal(t *testing.T, r service.Reply) string {
	t.Helper()
	if !r.Rejected {
		return ""
	}
	v, err := capdata.Decode(r.Value.Body, 0)
	if e, ok := v.(*capdata.Error); ok && err == nil {
		return e.Message
	}
	t.Fatalf("rejected with %q", r.Value.Body)
	return ""
}

// reply takes the reply that must be there when all that can go on has done so.
func reply(t *testing.T, replies <-chan service.Reply) service.Reply {
	t.Helper()
	synctest.Wait()
	select {
	case r := <-replies:
		return r
	default:
		t.Fatal("no reply")
		return service.Reply{}
	}
}

func TestTheTimerTellsTheTimeAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := open(t, timer.Kinds(), timer.Kind, service.Opening{})
		if got, want := reply(t, begin(t.Context(), o, time.Now(), message(t, "now"))), fmt.Sprintf("#%d", time.Now().UnixMilli()); got.Rejected || got.Value.Body != want {
			t.Errorf("now() is %+v, want %s", got, want)
		}
		start := time.Now()
		replies := begin(t.Context(), o, start, message(t, "delay", 1500.0))
		<-time.After(1499 * time.Millisecond)
		if synctest.Wait(); len(replies) > 0 {
			t.Error("a delay ended early")
		}
		<-time.After(time.Millisecond)
		if got, want := reply(t, replies), fmt.Sprintf("#%d", start.UnixMilli()+1500); got.Rejected || got.Value.Body != want {
			t.Errorf("delay(1500) is %+v, want %s", got, want)
		}
		if got := reply(t, begin(t.Context(), o, time.Now(), message(t, "delay", 0.0))); got.Rejected {
			t.Errorf("delay(0) is %+v", got)
		}

		ctx, cancel := context.WithCancel(t.Context())
		replies = begin(ctx, o, time.Now(), message(t, "delay", 1500.0))
		cancel()
		<-time.After(time.Hour)
		if synctest.Wait(); len(replies) > 0 {
			t.Error("a delay that nobody waits for was answered")
		}
		if again, ok := o.(service.Idempotent); !ok || !again.Idempotent("delay") || !again.Idempotent("repeat") {
			t.Error("calls of the timer that a kernel has begun are not begun again by the next")
		}
	})
}

func TestTheTimerRefuses(t *testing.T) {
	const most = 100 * 365 * 24 * 3600 * 1000.0
	synctest.Test(t, func(t *testing.T) {
		o := open(t, timer.Kinds(), timer.Kind, service.Opening{})
		for _, c := range []struct {
			methArgs service.Data
			want     string // empty: it is not refused
		}{
			{service.Data{Body: "#["}, "no call"},
			{message(t, "now", 1.0), "no method now of 1 arguments"},
			{message(t, "delay"), "no method delay of 0 arguments"},
			{message(t, "delay", 1.0, 2.0), "no method delay of 2 arguments"},
			{message(t, "repeat", 1000.0), "no method repeat of 1 arguments"},
			{message(t, "stop"), "no method stop"},
			{message(t, "delay", "ko4"), "timer.delay: want a number of milliseconds from 0 to"},
			{message(t, "delay", -1.0), "timer.delay: want a number"},
			{message(t, "delay", most+1), "timer.delay: want a number"},
			{message(t, "repeat", 99.0, "ko4"), "timer.repeat: want a number of milliseconds from 100 to"},
			{message(t, "repeat", most+1, "ko4"), "timer.repeat: want a number"},
			{message(t, "repeat", 100.0, 7.0), "timer.repeat: the second argument is no reference"},
			{message(t, "repeat", 100.0, "ko4"), ""},
			{message(t, "repeat", most, "ko4"), ""},
		} {
			got := refusal(t, reply(t, begin(t.Context(), o, time.Now(), c.methArgs)))
			if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
				t.Errorf("%s: got refusal %q, want %q", c.methArgs.Body, got, c.want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		replies := begin(ctx, o, time.Now(), message(t, "delay", most))
		if synctest.Wait(); len(replies) > 0 {
			t.Errorf("the longest delay is answered at once: %+v", <-replies)
		}
	})
}

// ticks is what a repetition asks of the kernel.
type ticks struct {
	sent  []string // target, state and time of each tick
	ended int
}

func (k *ticks) opening(x service.Export, state []byte) service.Opening {
	return service.Opening{
		Config: x.Config, Holds: x.Holds, State: state,
		Send: func(state []byte, target string, methArgs service.Data) error {
			method, args, err := capdata.DecodeCall(methArgs.Body, 0)
			if err != nil || method != "tick" || len(args) != 1 {
				return fmt.Errorf("the message %q is no tick", methArgs.Body)
			}
			k.sent = append(k.sent, fmt.Sprintf("%s %s %.0f", target, state, args[0]))
			return nil
		},
		End: func() { k.ended++ },
	}
}

func TestARepetitionTicksUntilItIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kinds := timer.Kinds()
		asked := time.Now()
		<-time.After(300 * time.Millisecond) // until the call is begun
		r := reply(t, begin(t.Context(), open(t, kinds, timer.Kind, service.Opening{}), asked, message(t, "repeat", 1000.0, "ko4")))
		if r.Rejected || len(r.Exports) != 1 || r.Exports[0].Object != nil || !cmp.Equal(r.Value.Slots, []string{"new0"}) || !cmp.Equal(r.Exports[0].Holds, []string{"ko4"}) {
			t.Fatalf("repeat gave %+v", r)
		}
		var k ticks
		o := open(t, kinds, r.Exports[0].Kind, k.opening(r.Exports[0], nil))
		<-time.After(2*time.Second + 100*time.Millisecond)
		synctest.Wait()
		ms := asked.UnixMilli()
		want := []string{fmt.Sprintf("ko4 %d %d", ms+1000, ms+1000), fmt.Sprintf("ko4 %d %d", ms+2000, ms+2000)}
		if diff := cmp.Diff(want, k.sent); diff != "" {
			t.Error(diff)
		}
		if err := o.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
		// The next kernel comes while two more ticks were due. They are one, and the beat stays.
		<-time.After(2 * time.Second)
		k.sent = nil
		o = open(t, kinds, r.Exports[0].Kind, k.opening(r.Exports[0], fmt.Append(nil, ms+2000)))
		<-time.After(time.Second)
		synctest.Wait()
		want = []string{fmt.Sprintf("ko4 %d %d", ms+4000, ms+4400), fmt.Sprintf("ko4 %d %d", ms+5000, ms+5000)}
		if diff := cmp.Diff(want, k.sent); diff != "" {
			t.Error(diff)
		}

		if again, ok := o.(service.Idempotent); !ok || !again.Idempotent("cancel") || again.Idempotent("other") {
			t.Error("cancel, and nothing else, may be done again")
		}
		for _, m := range []service.Data{message(t, "stop"), message(t, "cancel", 1.0), {Body: "#["}} {
			if got := refusal(t, reply(t, begin(t.Context(), o, time.Now(), m))); !strings.Contains(got, "cancel()") {
				t.Errorf("%s: got refusal %q, want the method that there is", m.Body, got)
			}
		}
		r = reply(t, begin(t.Context(), o, time.Now(), message(t, "cancel")))
		if r.Rejected || k.ended != 1 {
			t.Errorf("cancel gave %+v, and the repetition was ended %d times", r, k.ended)
		}
		k.sent = nil
		<-time.After(time.Hour)
		// The state came with the answer: a kernel that starts before the object has ended does not tick.
		again := open(t, kinds, "repeat", k.opening(service.Export{Config: []byte(`{"everyMs":1000,"from":0}`), Holds: []string{"ko4"}}, r.State))
		<-time.After(time.Hour)
		if synctest.Wait(); len(k.sent) > 0 || k.ended != 2 {
			t.Errorf("after cancel it ticks: %v, and the next kernel's is ended: %d", k.sent, k.ended-1)
		}
		if err := again.(io.Closer).Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestARepetitionIsMadeOnlyOfWhatTheTimerHasStored(t *testing.T) {
	good := service.Opening{Config: []byte(`{"everyMs":1000,"from":0}`), Holds: []string{"ko4"}, State: []byte("5")}
	for what, spoil := range map[string]func(*service.Opening){
		"no configuration":     func(o *service.Opening) { o.Config = []byte("{") },
		"no time":              func(o *service.Opening) { o.Config = []byte(`{"everyMs":0,"from":0}`) },
		"a time that is past":  func(o *service.Opening) { o.Config = []byte(`{"everyMs":-1,"from":0}`) },
		"no target":            func(o *service.Opening) { o.Holds = nil },
		"two targets":          func(o *service.Opening) { o.Holds = []string{"ko4", "ko5"} },
		"a state of no number": func(o *service.Opening) { o.State = []byte("yesterday") },
	} {
		o := good
		spoil(&o)
		if _, err := timer.Kinds()["repeat"].Open(o); err == nil || !strings.Contains(err.Error(), "repetition: bad") {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// The names and the form of what is stored are those of the states that there are.
func TestKindsOfTheTimer(t *testing.T) {
	kinds := timer.Kinds()
	if len(kinds) != 2 || !kinds["timer"].Service || kinds["repeat"].Service || kinds["repeat"].Most != 1000 || !strings.Contains(kinds["repeat"].TooMany, "1000 repetitions") {
		t.Errorf("got %+v", kinds)
	}
	o := open(t, kinds, "timer", service.Opening{})
	r := <-begin(t.Context(), o, time.UnixMilli(5), message(t, "repeat", 250.0, "ko4"))
	var config map[string]int64
	if err := json.Unmarshal(r.Exports[0].Config, &config); err != nil || r.Exports[0].Kind != "repeat" || !cmp.Equal(config, map[string]int64{"everyMs": 250, "from": 5}) {
		t.Errorf("got %+v, %v", r.Exports[0], err)
	}
}

package kernel_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"ocapkernel.dev/kernel"
)

// TestTranscripts runs the scripts in testdata: each is one kernel, its commands what a shell does, its
// output what the kernel answered. The invariants are checked after each commit. With -rewrite the
// outputs are written anew; read every diff.
//
//	cluster a b c [queue=N] [restarts=N] [never] [onfault=stop]   launch, and run until all is up; quiet
//	               [own=(x,y)] [global=(z)] [system=NAME] [by=ko9.0] [replaces=s1]    service objects: see world_service_test.go
//	launch a b c …           only launch; a is the bootstrap vat
//	call t1 ko4 foo [ko5 …]  a host call under the ticket E1.t1
//	begin v1                 the next delivery (starts a worker if it takes one)
//	start v1                 only its worker
//	finish v1                what the vat answers, a syscall a line: see parseDone and expand
//	deliver v1               begin and finish
//	try v1                   what finish would say, and take back: a line an answer, ";" between its syscalls
//	died v1 crash            the worker's end: stopped start killed crash deadline malformed limit illegal fault
//	                         (times=N: so often, with a begin before each)
//	work                     one slice of the kernel's own work
//	run [quiet]              all of it, everybody's: results become null
//	terminate s1; faillaunch s1; restart v1; revoke ko5; unpoison v1 1 [retry]
//	collect v1 [always]      ask the vat for its dead
//	greeted v1 1             its worker speaks version 1 of the protocol
//	ticket t1; ack t1; expire TIME; time T
//	kill-kernel              and open the next one over what is stored
//	epoch E2                 begin another epoch
//	show [NAME …]            stored state: lines that begin with one of the names
//	leftovers                terminate everything; the rows that are left
//
// Of service objects: see serviceCommand.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var w *world
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if w == nil {
				w = newWorld(t)
			}
			w.t = t
			command(w, d)
			return w.flush()
		})
	})
}

var causes = map[string]kernel.Cause{
	"stopped": kernel.CauseStopped, "start": kernel.CauseStart, "killed": kernel.CauseKilled, "crash": kernel.CauseCrash,
	"deadline": kernel.CauseDeadline, "malformed": kernel.CauseMalformed, "limit": kernel.CauseLimit,
	"illegal": kernel.CauseIllegal, "fault": kernel.CauseFault,
}

func command(w *world, d *datadriven.TestData) {
	var args []string
	options, lists := map[string]string{}, map[string][]string{}
	for _, a := range d.CmdArgs {
		if len(a.Vals) > 0 {
			options[a.Key], lists[a.Key] = a.Vals[0], a.Vals
		} else {
			args = append(args, a.Key)
		}
	}
	arg := func(i int) string {
		if i >= len(args) {
			d.Fatalf(w.t, "%s wants more arguments", d.Cmd)
		}
		return args[i]
	}
	option := func(name string, value int) int {
		if s, ok := options[name]; ok {
			n, err := strconv.Atoi(s)
			if err != nil {
				d.Fatalf(w.t, "%v", err)
			}
			return n
		}
		return value
	}
	v := func() kernel.VatID { return kernel.VatID(arg(0)) }
	switch d.Cmd {
	case "cluster", "launch":
		never := slices.Contains(args, "never")
		names := slices.DeleteFunc(slices.Clone(args), func(s string) bool { return s == "never" })
		l := kernel.Launch{
			Bootstrap: names[0], System: options["system"], Replaces: kernel.SubID(options["replaces"]), Config: []byte("{}"),
			Services: append(own(lists["own"]...), global(lists["global"]...)...),
		}
		if by, n, ok := strings.Cut(options["by"], "."); ok {
			l.By = kernel.CallID{Service: kernel.KRef(by), N: uint64(must(strconv.Atoi(n)))}
		}
		for _, n := range names {
			lv := launchVat(n)
			lv.MaxQueue, lv.MaxRestarts = uint64(option("queue", 100)), uint64(option("restarts", 5))
			lv.MaxRecords = uint64(option("records", 0))
			lv.Never, lv.StopOnFault = never, options["onfault"] == "stop"
			l.Vats = append(l.Vats, lv)
		}
		if d.Cmd == "launch" {
			_, c, err := w.m.Launch(l)
			w.do(c, err)
			return
		}
		id := w.up(l)
		if id == "" {
			return
		}
		w.flush()
		s, _, _ := w.m.Subcluster(id)
		for _, m := range s.Vats {
			vat, _, _ := w.m.Vat(m.Vat)
			w.printf("%s: %s is %s, root %s", id, m.Name, m.Vat, vat.Root)
		}
		for _, x := range l.Services {
			name := x.Global
			if name == "" {
				name = "io:" + string(id) + ":" + x.Name
			}
			w.printf("%s: %s is %s", id, x.Name, must(w.m.ServiceNamed(name)))
		}
	case "call":
		var slots []kernel.KRef
		for _, s := range args[3:] {
			slots = append(slots, kernel.KRef(s))
		}
		w.call("E1."+arg(0), kernel.KRef(arg(1)), arg(2), slots...)
	case "begin":
		if !w.begin(v()) {
			w.printf("%s has nothing to do", v())
		}
	case "start":
		_, c, err := w.m.StartWorker(v())
		w.do(c, err)
	case "finish":
		w.finish(v(), w.parse(v(), d.Input))
	case "deliver":
		if !w.deliver(v(), d.Input) {
			w.printf("%s has nothing to do", v())
		}
	case "try":
		for line := range strings.SplitSeq(d.Input, "\n") {
			w.printf("%s", w.try(v(), strings.ReplaceAll(line, ";", "\n")))
		}
	case "died":
		cause, ok := causes[arg(1)]
		if !ok {
			d.Fatalf(w.t, "no cause %q", arg(1))
		}
		if n := option("times", 0); n > 0 {
			for range n {
				w.flush() // only the last is of interest
				w.begin(v())
				w.died(v(), cause, "")
			}
			return
		}
		w.died(v(), cause, "")
	case "work":
		c, _, err := w.m.Work(w.now)
		w.do(c, err)
	case "run":
		w.run(nil)
		if slices.Contains(args, "quiet") {
			w.flush()
		}
	case "terminate":
		w.do(w.m.Terminate(kernel.SubID(arg(0))))
	case "faillaunch":
		w.do(w.m.FailLaunch(kernel.SubID(arg(0)), "it took too long"))
	case "restart":
		w.do(w.m.Restart(v(), true))
	case "revoke":
		w.do(w.m.Revoke(kernel.KRef(arg(0))))
	case "poisoned":
		for _, p := range must(w.m.Poisoned(v())) {
			w.printf("%d: %s to %s, after %d attempts: %s: %s", p.N, kernel.Method(p.MethArgs.Body), p.Target, p.Attempts, p.Code, p.Why)
		}
	case "unpoison":
		w.do(w.m.Unpoison(v(), uint64(must(strconv.Atoi(arg(1)))), slices.Contains(args, "retry")))
	case "ticket":
		w.printf("%s", ticketText(must(w.m.Ticket("E1."+arg(0)))))
	case "ack":
		w.do(w.m.Acknowledge("E1." + arg(0)))
	case "expire":
		c, next, err := w.m.Expire(int64(must(strconv.Atoi(arg(0)))))
		w.do(c, err)
		w.printf("next %d", next)
	case "time":
		w.now = int64(must(strconv.Atoi(arg(0))))
	case "kill-kernel":
		w.reopen()
	case "epoch":
		w.do(w.m.NewEpoch(arg(0)))
	case "collect":
		w.do(w.m.Collect(kernel.VatID(arg(0)), len(args) > 1))
	case "greeted":
		version, err := strconv.Atoi(arg(1))
		if err != nil {
			d.Fatalf(w.t, "%v", err)
		}
		w.do(w.m.Greeted(kernel.VatID(arg(0)), version))
	case "show":
		for _, line := range kernel.Dump(w.mem) {
			name, _, _ := strings.Cut(line, " ")
			if len(args) == 0 || slices.Contains(args, name) {
				w.printf("%s", line)
			}
		}
	case "leftovers":
		keys := w.leftovers()
		w.flush()
		w.printf("%s", strings.TrimSpace(fmt.Sprint("left: ", strings.Join(keys, " "))))
	default:
		if !serviceCommand(w, d, args, options) {
			d.Fatalf(w.t, "unknown command %s", d.Cmd)
		}
	}
}

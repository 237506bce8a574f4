package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/fault"
)

// A workload is what a trial does. It begins a kernel, goes on through any deaths, compares what is there with what it was told,
// and returns what is kept at the end: the same, whatever died.
type workload struct {
	name string
	work func(tr *trial) (kept any)
	// long is set for a workload that takes too long for make test.
	long bool
	// points are those at which a process dies; all that the workload passes, if there are none.
	points []fault.Name
	// over is the transport of the workers; the descriptor if it is empty.
	over transport
}

var workloads = []workload{
	{name: "bank", work: worksBank},
	{name: "lines", work: worksLines},
	{name: "files", work: worksFiles},
	{name: "clients", work: worksClients},
	{name: "services", work: worksServices},
	{name: "system", work: worksSystem},
	{name: "operator", work: worksOperator},
	{name: "garden", work: worksGarden},
	{name: "waiter", work: worksWaiter},
	{name: "disk", work: worksDisk},
	{name: "chest", work: worksChest, long: true, points: []fault.Name{
		fault.StoreBeforeLog, fault.StoreFullLogSynced, fault.StoreBeforeMove, fault.StoreAfterMove, fault.StoreBeforeSync, fault.StoreAfterSync,
		fault.StoreBeforeRemoval, fault.StoreAfterRemoval, fault.StoreBeforeCommit, fault.StoreAfterCommit, fault.StoreBeforeClose,
	}},
	{name: "bankOverGRPC", work: worksBank, long: true, over: overGRPC},
	{name: "waiterOverGRPC", work: worksWaiter, long: true, over: overGRPC},
}

// kept is the tally of a kernel that may be killed meanwhile. Vats are numbered in their order, since a launch that was
// interrupted takes ids.
func (tr *trial) kept() (out control.Tally) {
	tr.t.Helper()
	tr.again("the tally", func() (err error) {
		out, err = tr.tally(tr.t.Context())
		return err
	})
	for i := range out.Vats {
		out.Vats[i].ID = strconv.Itoa(i)
	}
	return out
}

// status is the description of the kernel.
func (tr *trial) status() (st control.Status) {
	tr.t.Helper()
	tr.again("status", func() error { return tr.ask(&st, "status") })
	return st
}

// running waits until there is one subcluster, which runs, and returns its id.
func (tr *trial) running() (id string) {
	tr.t.Helper()
	tr.again("one subcluster", func() error {
		var st control.Status
		err := tr.ask(&st, "status")
		if err == nil && (len(st.Clusters) != 1 || st.Clusters[0].State != control.SubclusterRunning) {
			err = fmt.Errorf("there are %+v", st.Clusters)
		}
		if err == nil {
			id = st.Clusters[0].ID
		}
		return err
	})
	return id
}

// terminates ends a subcluster, and returns what is kept of it: nothing. Later kernels do not launch it again.
func (tr *trial) terminates(sub string) control.Tally {
	tr.t.Helper()
	tr.from()
	tr.again("terminate", func() error {
		if o := tr.cli("terminate", sub); o.exit != 0 && !strings.Contains(o.stderr, "there is no") {
			return errors.New(o.String())
		}
		var st control.Status
		if err := tr.ask(&st, "status"); err != nil {
			return err
		}
		return none("subclusters", st.Clusters)
	})
	tr.again("the rest", func() error { return none("files", tr.ioFiles()) })
	return tr.kept()
}

// answered returns the answer of a ticket whose call was answered before: the kernel has not forgotten it.
func (tr *trial) answered(ticket string) (out control.Outcome) {
	tr.t.Helper()
	tr.again("await "+ticket, func() error {
		c, err := control.Dial(tr.t.Context(), tr.state)
		if err != nil {
			return err
		}
		defer c.Close()
		out, err = c.Await(tr.t.Context(), control.Ticket{ID: ticket}, time.Second, false)
		if control.CodeOf(err) == errcode.Unknown || err == nil && out.Status == control.Pending {
			tr.t.Errorf("the answer of %s, which was given, is %+v, %v", ticket, out, err)
			return nil
		}
		return err
	})
	return out
}

// worksBank has customers order transfers, whose results are promises that travel on before they are settled.
func worksBank(tr *trial) any {
	config, err := filepath.Abs("../examples/bank/cluster.json")
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.begin(config)
	sub := tr.running()
	orders := make([][]transfer, 3)
	errs := make(chan error, len(orders))
	var wg sync.WaitGroup
	for i := range orders {
		wg.Go(func() {
			for n := range 5 {
				t := transfer{from: (i + n) % 3, to: (i + 2*n + 1) % 3, amount: 100 * (1 + (i+n)%5)}
				if err := orderOf(sub, tr.state, fmt.Sprintf("c%d-%d", i, n), &t); err != nil {
					errs <- err
					return
				}
				orders[i] = append(orders[i], t)
			}
		})
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		tr.t.Fatal(err)
	}
	want := [3]int{1000, 1000, 1000}
	for i, list := range orders {
		for n, t := range list {
			if out := tr.answered(fmt.Sprintf("c%d-%d", i, n)); t.applied != (out.Status == control.Fulfilled) {
				tr.t.Errorf("transfer c%d-%d is answered with %+v, and was with %+v", i, n, out, t)
			}
			if t.applied {
				want[t.from] -= t.amount
				want[t.to] += t.amount
			}
		}
	}
	tr.calls("3000", "", sub, "audit")
	for i, name := range accounts {
		tr.calls(fmt.Sprint(want[i]), "", sub, "balance", name)
	}
	return []control.Tally{tr.kept(), tr.terminates(sub)}
}

// worksLines has a client say lines on a socket to a vat that answers them, and say those again that were not answered.
func worksLines(tr *trial) any {
	tr.begin(tr.portConfig(tr.t, "port", "answer tty", `"tty": {"type": "socket", "path": "tty.sock"}`, ""))
	sub := tr.running()
	enough := make(chan struct{})
	p := speaker{enough: enough, where: func() (string, error) { return filepath.Join(tr.dir, "tty.sock"), nil }}
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	done := during(func() error { return p.speak(ctx) })
	tr.again("lines", func() error {
		if n := p.progress.Load(); n < 25 && len(done) == 0 {
			return fmt.Errorf("%d lines are answered", n)
		}
		return nil
	})
	close(enough)
	if err := ended(done); err != nil {
		tr.t.Errorf("after line %d: %v", p.answered, err)
	}
	var heard []string
	tr.again("the end of the lines", func() error {
		err := json.Unmarshal([]byte(tr.call("", sub, "report", 1)), &heard)
		if n := len(heard); err == nil && (n == 0 || heard[n-1] != "!END" && heard[n-1] != "!CONNECTION_LOST") {
			err = fmt.Errorf("the vat has heard %d lines, %q", n, tailOf(heard, 5))
		}
		return err
	})
	// On each connection each line is heard once, and none is skipped.
	last, most := 0, 0
	for i, what := range heard {
		if what == "!CONNECTION_LOST" || what == "!END" {
			last = -1
			continue
		}
		n, err := strconv.Atoi(what)
		if err != nil || last >= 0 && n != last+1 || last < 0 && n > most+1 {
			tr.t.Errorf("the vat has heard %q as its %dth, after %q", what, i, heard[max(0, i-5):i])
		}
		last, most = n, max(most, n)
	}
	if most != p.sent || p.connections > 1+2*tr.deaths() {
		tr.t.Errorf("the last line is %d, want %d; %d connections and %d deaths", most, p.sent, p.connections, tr.deaths())
	}
	return tr.terminates(sub)
}

// worksFiles has a vat read a file by lines and write another one.
func worksFiles(tr *trial) any {
	const lines = 40
	tr.file(tr.t, "in.txt", strings.Join(numbers(lines), "\n")+"\n")
	tr.begin(tr.portConfig(tr.t, "port", "", `"in": {"type": "file", "path": "in.txt", "direction": "in"}, "out": {"type": "file", "path": "out.txt", "direction": "out"}`, ""))
	sub := tr.running()
	tr.calls(`{"$undefined":true}`, "follow", sub, "follow", "in", false)
	tr.calls(`{"$undefined":true}`, "submit", sub, "submit", "out", lines)
	var heard []string
	tr.again("the end of the file", func() error {
		err := json.Unmarshal([]byte(tr.call("", sub, "report", 1)), &heard)
		if err == nil && len(heard) <= lines {
			err = fmt.Errorf("the vat has heard %d lines", len(heard))
		}
		return err
	})
	if want := append(numbers(lines), "!END"); !slices.Equal(heard, want) {
		tr.t.Errorf("the vat has heard %q", heard)
	}
	var told []string
	tr.again("the writes", func() error {
		text := tr.call("", sub, "written")
		if strings.HasPrefix(text, "!") {
			return errors.New(text)
		}
		return json.Unmarshal([]byte(text), &told)
	})
	text := readFile(tr.t, filepath.Join(tr.dir, "out.txt"))
	inFile := map[string]int{}
	previous := 0
	for line := range strings.Lines(text) {
		n, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
		if err != nil || n <= previous {
			tr.t.Errorf("the file has %q after %d", line, previous)
		}
		previous = n
		inFile[strconv.Itoa(n)]++
	}
	ambiguous := 0
	for i, what := range told {
		times := inFile[strconv.Itoa(i+1)]
		switch {
		case what == "written" && times == 1:
		case what == "AMBIGUOUS" && times <= 1:
			ambiguous++
		default:
			tr.t.Errorf("of line %d the vat was told %q, and it is there %d times", i+1, what, times)
		}
	}
	if len(told) != lines || ambiguous > 4*tr.deaths() {
		tr.t.Errorf("the vat was told of %d lines, of %d of them AMBIGUOUS after %d deaths", len(told), ambiguous, tr.deaths())
	}
	return []control.Tally{tr.kept(), tr.terminates(sub)}
}

// worksClients has clients come one after the other, and two at a time, to a vat that accepts each.
func worksClients(tr *trial) any {
	tr.begin(tr.portConfig(tr.t, "server", "serve tty", `"tty": {"type": "socket", "path": "tty.sock"}`, ""))
	sub := tr.running()
	var wg sync.WaitGroup
	errs := make(chan error, 2)
	for i := range 2 {
		wg.Go(func() {
			errs <- retry(func() error { // as a client does whose connection is lost
				for n := range 3 {
					c, err := dialQuietly(filepath.Join(tr.dir, "tty.sock"))
					if err != nil {
						return err
					}
					err = c.echo(tr.t, fmt.Sprintf("client %d.%d", i, n), 3)
					_ = c.Close()
					if err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	for range 2 {
		if err := <-errs; err != nil {
			tr.t.Error(err)
		}
	}
	tr.again("the end of the sessions", func() error {
		var tally []int
		if err := json.Unmarshal([]byte(tr.call("", sub, "tally")), &tally); err != nil {
			return err
		}
		if len(tally) != 2 || tally[0] != 0 || tally[1] < 6 {
			return fmt.Errorf("sessions and clients are %v", tally)
		}
		return nil
	})
	return []control.Tally{tr.kept(), tr.terminates(sub)}
}

// worksServices has a vat call the services of the kernel, and lets a timer call the vat.
func worksServices(tr *trial) any {
	if err := os.Mkdir(filepath.Join(tr.dir, "files"), 0o700); err != nil {
		tr.t.Fatal(err)
	}
	tr.begin(tr.file(tr.t, "agent.json", `{"bootstrap": "agent", "vats": {"agent": {"module": "test.agent", "worker": "bin/testworker"}},
		"services": ["timer", "random", {"name": "files", "service": "fs", "root": "files"}]}`))
	sub := tr.running()
	tr.call("repeat", sub, "repeat", 100)
	began := time.Now().UnixMilli()
	for i, c := range []struct {
		service, method string
		args            []any
		want            string
	}{
		{"random", "hex", []any{4}, `^"[0-9a-f]{8}"$`},
		{"files", "writeFile", []any{"notes", "a line\n"}, `^{"\$undefined":true}$|^!AMBIGUOUS`},
		{"files", "appendFile", []any{"notes", "another\n"}, `^{"\$undefined":true}$|^!AMBIGUOUS`},
		{"files", "readFile", []any{"notes"}, `^"(a line\\n)?(another\\n)?"$|^!ERROR.*no such file`},
		{"timer", "delay", []any{50}, `^1\d{12}$`},
		{"timer", "now", []any{}, `^1\d{12}$`},
	} {
		ticket := fmt.Sprint("call", i)
		got := tr.call(ticket, sub, "do", c.service, c.method, c.args)
		if !regexp.MustCompile(c.want).MatchString(got) || strings.HasPrefix(got, "!AMBIGUOUS") && tr.deaths() == 0 {
			tr.t.Errorf("%s.%s: got %s, want %s", c.service, c.method, got, c.want)
		}
		tr.calls(got, ticket, sub, "do", c.service, c.method, c.args)
		if ms, err := strconv.ParseInt(got, 10, 64); c.method == "delay" && (err != nil || ms < began+50) {
			tr.t.Errorf("a delay of 50 ms that began after %d is over at %s", began, got)
		}
	}
	ticked := func(more int) int {
		n, err := strconv.Atoi(tr.call("", sub, "ticked"))
		if err != nil || n < more {
			return -1
		}
		return n
	}
	before := max(ticked(0), 0)
	tr.again("ticks", func() error {
		if ticked(before+2) < 0 {
			return fmt.Errorf("no two ticks after %d", before)
		}
		return nil
	})
	tr.calls(`{"$undefined":true}`, "cancel", sub, "do", "repetition", "cancel", []any{})
	before = ticked(0)
	tr.call("wait", sub, "do", "timer", "delay", []any{150})
	if now := ticked(0); now != before {
		tr.t.Errorf("%d ticks came after the end", now-before)
	}
	return []control.Tally{tr.kept(), tr.terminates(sub)}
}

// worksSystem has a system subcluster launch, use, reload and end another one, and then has the state cleared.
func worksSystem(tr *trial) any {
	tr.begin("--system", tr.file(tr.t, "kernel.json", agentSystem))
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	if err := tr.useFacet(ctx, tr.running(), 0); err != nil {
		tr.t.Fatal(err)
	}
	if got := strings.TrimSpace(tr.do("send", tr.running(), "failed")); got != "[]" && got != "null" {
		tr.t.Errorf("calls of the facet failed: %s", got)
	}
	kept := tr.kept()
	before := tr.status()
	tr.again("clear", func() error {
		o := tr.cli("clear", "--yes")
		var st control.Status
		if err := tr.ask(&st, "status"); err != nil {
			return err
		}
		if st.Epoch == before.Epoch {
			return fmt.Errorf("it is not cleared: %v", o)
		}
		return nil
	})
	if sub := tr.running(); sub == before.Clusters[0].ID {
		tr.t.Errorf("%s is there still", sub)
	}
	return []control.Tally{kept, tr.kept()}
}

// worksOperator restarts, changes, reloads and ends a counter.
func worksOperator(tr *trial) any {
	config := func(name, more string) string {
		return tr.file(tr.t, name, `{"bootstrap": "counter", "vats": {"counter": {"module": "test.counter", "worker": "bin/testworker"}`+more+`}}`)
	}
	tr.begin(config("counter.json", ""))
	sub := tr.running()
	tr.calls("1", "add1", sub, "add", 1)
	tr.do("restart", sub+"/counter")
	tr.calls("2", "add2", sub, "add", 1)
	tr.do("restart", "--forget", "--yes", sub+"/counter")
	tr.calls("3", "add3", sub, "add", 1)
	tr.from()
	tr.do("apply", config("counters.json", `, "other": {"module": "test.counter", "worker": "bin/testworker"}`), sub)
	tr.calls("10", "add4", sub+"/other", "add", 10)
	tr.calls("4", "add5", sub, "add", 1)
	kept := tr.kept()
	next := ""
	tr.again("reload", func() error {
		o := tr.cli("reload", sub, "--yes")
		if next = tr.running(); next == sub {
			return fmt.Errorf("it is not loaded anew: %v", o)
		}
		return nil
	})
	tr.calls("1", "add6", next, "add", 1)
	tr.calls("5", "add7", next+"/other", "add", 5)
	tr.again("terminate other", func() error {
		if o := tr.cli("terminate", next+"/other", "--yes"); o.exit != 0 && tr.status().Vats == 2 {
			return errors.New(o.String())
		}
		return nil
	})
	if st := tr.status(); st.Vats != 1 {
		tr.t.Errorf("there are %d vats", st.Vats)
	}
	tr.calls("2", "add8", next, "add", 1)
	return []control.Tally{kept, tr.kept(), tr.terminates(next)}
}

// worksGarden makes objects that nobody needs a moment later, and collects them.
func worksGarden(tr *trial) any {
	tr.begin(tr.file(tr.t, "gardens.json", `{"bootstrap": "visitor", "vats": {
		"visitor": {"module": "test.garden", "worker": "bin/testworker"}, "garden": {"module": "test.garden", "worker": "bin/testworker"},
	}}`))
	sub := tr.running()
	for i, c := range []struct {
		target, method string
		n              int
	}{{sub, "visit", 6}, {sub + "/garden", "replant", 5}, {sub + "/garden", "ring", 10}, {sub, "visit", 3}} {
		if got := tr.call(fmt.Sprint("work", i), c.target, c.method, c.n); strings.HasPrefix(got, "!") {
			tr.t.Errorf("%s: got %s", c.method, got)
		}
	}
	tr.calls("24", "", sub+"/garden", "planted")
	return []control.Tally{tr.kept(), tr.terminates(sub)}
}

// worksWaiter has turns wait for answers, in memory that is made again when a process dies.
func worksWaiter(tr *trial) any {
	tr.begin(tr.file(tr.t, "waiters.json", `{"bootstrap": "waiter", "vats": {
		"waiter": {"module": "test.waiter", "worker": "bin/testworker"}, "source": {"module": "test.source", "worker": "bin/testworker"},
	}}`))
	sub := tr.running()
	ctx, cancel := context.WithTimeout(tr.t.Context(), patience)
	defer cancel()
	const n = 12
	sums := make(chan string, 2)
	for i := range cap(sums) {
		go func() {
			text, err := tr.tell(ctx, fmt.Sprint("sum", i), sub, "sum", n)
			if err != nil {
				text = "!" + err.Error()
			}
			sums <- text
		}()
	}
	total := 0
	for range cap(sums) {
		text := <-sums
		x, err := strconv.Atoi(text)
		if err != nil {
			tr.t.Errorf("got %s", text)
		}
		total += x
	}
	if want := 2 * n * (2*n + 1) / 2; total != want {
		tr.t.Errorf("the sums are %d together, want %d", total, want)
	}
	tr.calls(fmt.Sprint(2*n), "", sub+"/source", "count")
	return []control.Tally{tr.kept(), tr.terminates(sub)}
}

// worksDisk takes a backup, compacts the state, restores the backup elsewhere, and resets the state.
func worksDisk(tr *trial) any {
	config := tr.file(tr.t, "counter.json", counterConfig)
	tr.begin(config)
	sub := tr.running()
	tr.calls("1", "add1", sub, "add", 1)
	tr.again("backup", func() error {
		o := tr.cli("backup", "one.backup")
		if _, err := os.Stat(filepath.Join(tr.dir, "one.backup")); err != nil { // its name is that of a whole one
			return errors.New(o.String())
		}
		return nil
	})
	tr.calls("2", "add2", sub, "add", 1)
	kept := tr.kept()
	tr.end()

	offline := func(s *site, args ...string) {
		tr.t.Helper()
		if err := retry(func() error {
			if o := s.cli(args...); o.exit != 0 {
				return errors.New(o.String())
			}
			return nil
		}); err != nil {
			tr.t.Fatal(err)
		}
	}
	offline(tr.site, "compact")
	offline(tr.site, "check")
	own, restored := tr.site, *tr.site
	restored.state = filepath.Join(tr.dir, "restored")
	defer func() { _ = os.RemoveAll(restored.state) }()
	// A restore that has come to its end before it was killed is not done again.
	if o := restored.cli("restore", "one.backup"); o.exit != 0 {
		if again := restored.cli("restore", "one.backup"); again.exit != 0 && !strings.Contains(again.stderr, "holds a state already") {
			tr.t.Errorf("restore: %v, and then %v", o, again)
		}
	}
	offline(&restored, "check")
	tr.on(&restored)
	tr.calls("2", "restored", tr.running(), "add", 1)
	tr.end()
	offline(&restored, "check")
	tr.on(own, config)
	tr.calls("3", "add3", tr.running(), "add", 1)
	tr.end()
	tr.on(own, "--reset", "--yes", config)
	sub = tr.running()
	tr.from(config)
	tr.calls("1", "add4", sub, "add", 1)
	return []control.Tally{kept, tr.kept(), tr.terminates(sub)}
}

// worksChest writes so much, over and over, that the store begins logs, moves values and removes value logs.
func worksChest(tr *trial) any {
	tr.begin(tr.file(tr.t, "chest.json", `{"bootstrap": "chest", "vats": {"chest": {"module": "test.chest", "worker": "bin/testworker"}}}`))
	sub := tr.running()
	const long, short = 1_700_000, 900_000 // above and below the length at which a value lies in a value log
	want := map[int]string{}
	put := func(ticket string, number int, lengths ...int) {
		tr.t.Helper()
		tr.calls(`{"$undefined":true}`, ticket, sub, "put", number, ticket, lengths)
		for i, n := range lengths {
			want[number+i] = fmt.Sprint(ticket, " ", n)
		}
	}
	put("kept", 0, long)
	for i := range 50 {
		put(fmt.Sprint("long", i), 1+2*(i%3), long, long)
	}
	for i := range 30 {
		put(fmt.Sprint("short", i), 10+3*(i%3), short, short, short)
	}
	put("again", 1, long)
	for number, text := range want { // in any order
		tr.calls(strconv.Quote(text), "", sub, "has", number)
	}
	tr.end()
	logs, err := filepath.Glob(filepath.Join(tr.state, "db", "*.vlog"))
	if err != nil || len(logs) > 3 {
		tr.t.Errorf("the value logs are %q, %v", logs, err)
	}
	return len(want)
}

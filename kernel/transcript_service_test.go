package kernel_test

import (
	"strconv"
	"strings"

	"github.com/cockroachdb/datadriven"

	"ocapkernel.dev/kernel"
)

// serviceCommand is what transcripts say about service objects. It says whether there is such a command.
//
//	complete ko6 0 [unit=CLASS] [state=S]   how a call comes out, in the words of completion, below the command
//	take ko6 0 read          the call gets the first unit that was given back
//	forward ko6 0 ko4 foo [ko5 …]           the call ends by another message
//	emit ko6 STATE ko4 foo [ko5 …]          the object sends by itself
//	state ko6 STATE
//	end ko6                  the object ends
//	outstanding [ko6]        calls that are begun and not done, of all or of one
//	reload s1; reloads; dropreload s1; reconfigure s1 a b +c +$io; terminatevat v1
//	diverged v1              the replay of the vat's memory came out otherwise
//	forget v1                restart --forget
func serviceCommand(w *world, d *datadriven.TestData, args []string, options map[string]string) bool {
	krefs := func(from int) (out []kernel.KRef) {
		for _, a := range args[min(from, len(args)):] {
			out = append(out, kernel.KRef(a))
		}
		return out
	}
	number := func(i int) uint64 { return must(strconv.ParseUint(args[i], 10, 64)) }
	data := func(method string, slots []kernel.KRef) kernel.Data {
		return kernel.Data{Body: callBody(method, slots), Slots: slots}
	}
	if len(args) == 0 && d.Cmd != "reloads" && d.Cmd != "outstanding" {
		d.Fatalf(w.t, "%s wants arguments", d.Cmd)
	}
	switch d.Cmd {
	case "complete":
		made := w.complete(kernel.KRef(args[0]), number(1), strings.TrimSpace(d.Input), func(c *kernel.Completion) {
			c.Unit = options["unit"]
			if s, ok := options["state"]; ok {
				c.State = []byte(s)
			}
		})
		if len(made) > 0 {
			w.printf("made %s", join(made))
		}
	case "take":
		c, taken, err := w.m.TakeUnit(kernel.CallID{Service: kernel.KRef(args[0]), N: number(1)}, args[2], w.now)
		if w.do(c, err) != taken {
			w.t.Errorf("taken %t and commit %d", taken, c.Number)
		}
	case "forward":
		w.do(w.m.Forward(kernel.CallID{Service: kernel.KRef(args[0]), N: number(1)}, kernel.KRef(args[2]), data(args[3], krefs(4)), w.now))
	case "emit":
		w.do(w.m.Emit(kernel.KRef(args[0]), []byte(args[1]), kernel.KRef(args[2]), data(args[3], krefs(4)), w.now))
	case "state":
		w.do(w.m.SetServiceState(kernel.KRef(args[0]), []byte(args[1])))
	case "end":
		w.do(w.m.EndService(kernel.KRef(args[0])))
	case "outstanding":
		for _, s := range must(w.m.Services()) {
			for _, o := range must(w.m.Outstanding(s.KRef)) {
				if len(args) == 0 || args[0] == string(s.KRef) {
					w.printf("%s call %d: %s", o.ID.Service, o.ID.N, outstandingText(o))
				}
			}
		}
	case "reload":
		w.do(w.m.Reload(kernel.SubID(args[0])))
	case "reloads":
		for _, r := range must(w.m.Reloads()) {
			r := must2(w.m.ReloadOf(r.Sub))
			line := strings.TrimSpace("reload " + string(r.Sub) + " " + r.System)
			if !r.Gone {
				line += ", not gone yet"
			}
			if string(r.Config) != "" && string(r.Config) != "{}" {
				line += " " + string(r.Config)
			}
			w.printf("%s", line)
		}
	case "dropreload":
		w.do(w.m.DropReload(kernel.SubID(args[0]), "it was dropped"))
	case "replace":
		var vats []kernel.LaunchVat
		for _, name := range args[1:] {
			vats = append(vats, launchVat(name))
		}
		w.do(w.m.Replace(kernel.SubID(args[0]), kernel.Launch{Vats: vats, Config: []byte(`{"replaced":1}`)}))
	case "reconfigure":
		r := kernel.Reconfiguration{Config: []byte(`{"new":1}`), Source: "new"}
		for _, n := range args[1:] {
			name, added := strings.CutPrefix(n, "+")
			service, isService := strings.CutPrefix(name, "$")
			switch {
			case isService && !added:
				r.Services = append(r.Services, kernel.LaunchService{Name: service, New: kernel.NewService{Kind: "io", Config: []byte(`{"other":1}`)}})
			case isService:
				r.NewServices = append(r.NewServices, kernel.LaunchService{Name: service, New: kernel.NewService{Kind: "io"}})
			case added:
				r.NewVats = append(r.NewVats, launchVat(name))
			default:
				r.Vats = append(r.Vats, launchVat(name))
			}
		}
		made, c, err := w.m.Reconfigure(kernel.SubID(args[0]), r)
		if w.do(c, err) {
			for _, v := range made.Vats {
				row, _, _ := w.m.Vat(v.Vat)
				w.printf("made %s: %s, root %s", v.Name, v.Vat, row.Root)
			}
			for _, k := range made.Services {
				w.printf("made %s", k)
			}
			for _, k := range made.Configured {
				s, _, _ := w.m.Service(k)
				w.printf("configured %s: %s", k, s.Config)
			}
		}
	case "terminatevat":
		w.do(w.m.TerminateVat(kernel.VatID(args[0])))
	case "diverged":
		vat, _, _ := w.m.Vat(kernel.VatID(args[0]))
		delete(w.flights, vat.ID)
		w.do(w.m.Diverged(vat.ID, vat.Incarnation, "its replay diverged: it says something else"))
	case "forget":
		w.do(w.m.Restart(kernel.VatID(args[0]), true))
	default:
		return false
	}
	return true
}

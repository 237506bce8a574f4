package kernel_test

import (
	"fmt"
	"strings"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/wire"
)

func callBody[R ~string](method string, slots []R) string {
	return `#["` + method + `",` + slotsBody(slots) + `]`
}

func slotsBody[R ~string](slots []R) string {
	var b strings.Builder
	b.WriteByte('[')
	for i, s := range slots {
		if i > 0 {
			b.WriteByte(',')
		}
		sign := '$'
		if strings.TrimPrefix(string(s), "k")[0] == 'p' {
			sign = '&'
		}
		fmt.Fprintf(&b, `"%c%d"`, sign, i)
	}
	b.WriteByte(']')
	return b.String()
}

func join[R ~string](refs []R) string {
	var out []string
	for _, r := range refs {
		out = append(out, string(r))
	}
	return strings.Join(out, " ")
}

// valueText renders a value in a word or two.
func valueText[R ~string](v capdata.Data[R]) string {
	if capdata.LoneSlot(v.Body, len(v.Slots)) {
		return string(v.Slots[0])
	}
	body := strings.TrimPrefix(v.Body, "#")
	if value, err := capdata.Decode(v.Body, kernel.MaxSlots); err == nil {
		if e, ok := value.(*capdata.Error); ok {
			body = "error " + e.Message
		}
	}
	if len(v.Slots) == 0 {
		return body
	}
	return "(" + join(v.Slots) + ")"
}

func deliveryText(d wire.Deliver) string {
	s := fmt.Sprintf("gets %d: ", d.Number)
	switch d := d.Delivery.(type) {
	case wire.StartVat:
		s += "start"
	case wire.Call:
		s += fmt.Sprintf("%s.%s(%s)", d.Target, kernel.Method(d.Message.MethArgs.Body), join(d.Message.MethArgs.Slots))
		if d.Message.Result != "" {
			s += " -> " + string(d.Message.Result)
		}
	case wire.Notify:
		s += "notify"
		for _, r := range d.Resolutions {
			sep := "="
			if r.Rejected {
				sep = "!="
			}
			s += " " + string(r.Promise) + sep + valueText(r.Value)
		}
	case wire.DropExports:
		s += "drop exports " + join(d.Refs)
	case wire.RetireExports:
		s += "retire exports " + join(d.Refs)
	case wire.RetireImports:
		s += "retire imports " + join(d.Refs)
	case wire.BringOutYourDead:
		s = strings.TrimRight(s+"bring out your dead "+join(d.Known), " ")
		if d.More {
			s += " …"
		}
		if d.Bare {
			s += ", without fields"
		}
	default:
		s += fmt.Sprintf("%T", d)
	}
	for _, row := range d.State {
		s += fmt.Sprintf(" [%s is %s]", row.Key, row.Value)
	}
	return s
}

// parseDone reads what a vat answers, a syscall a line:
//
//	send o-1 method o+1 p-2 -> p+3
//	subscribe p-1 [stored]; keep p+1 [stored]; watch o-1 p+1
//	resolve p-1=o+1 p-2=(o+1 p-3) p+4!=text
//	set key value; delete key; exit; exit failure; fault text
//	drop o-1; retireImports o-1; retireExports o+1; abandon o+1
func parseDone(words string) (wire.Done, error) {
	var done wire.Done
	for line := range strings.SplitSeq(words, "\n") {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		refs := make([]wire.Ref, 0, len(f))
		for _, r := range f[1:] {
			refs = append(refs, wire.Ref(r))
		}
		arg := func(i int) string {
			if i < len(f) {
				return f[i]
			}
			return ""
		}
		var s wire.Syscall
		switch f[0] {
		case "send":
			if len(f) < 3 {
				return done, fmt.Errorf("send what? %q", line)
			}
			msg := wire.Send{Target: refs[0]}
			slots := refs[2:]
			if n := len(f); n > 4 && f[n-2] == "->" {
				msg.Message.Result = wire.Ref(f[n-1])
				slots = refs[2 : n-3]
			}
			msg.Message.MethArgs = wire.CapData{Body: callBody(f[2], slots), Slots: slots}
			s = msg
		case "subscribe":
			s = wire.Subscribe{Promise: wire.Ref(arg(1)), Stored: arg(2) == "stored"}
		case "watch":
			s = wire.Watch{Target: wire.Ref(arg(1)), Result: wire.Ref(arg(2))}
		case "keep":
			s = wire.Keep{Promise: wire.Ref(arg(1)), Stored: arg(2) == "stored"}
		case "resolve":
			r, err := parseResolve(strings.TrimPrefix(strings.TrimSpace(line), "resolve"))
			if err != nil {
				return done, err
			}
			s = r
		case "set":
			s = wire.StoreSet{Key: arg(1), Value: []byte(strings.Join(f[min(2, len(f)):], " "))}
		case "delete":
			s = wire.StoreDelete{Key: arg(1)}
		case "exit":
			s = wire.Exit{Failure: arg(1) == "failure", Info: wire.CapData{Body: `#"bye"`}}
		case "fault":
			done.Outcome.Fault = strings.Join(f[1:], " ")
			continue
		case "drop":
			s = wire.DropImports{Refs: refs}
		case "retireImports":
			s = wire.RetireImportsCall{Refs: refs}
		case "retireExports":
			s = wire.RetireExportsCall{Refs: refs}
		case "collect":
			s = wire.Collect{}
		case "abandon":
			s = wire.AbandonExports{Refs: refs}
		default:
			return done, fmt.Errorf("no syscall: %q", line)
		}
		done.Syscalls = append(done.Syscalls, s)
	}
	return done, nil
}

func parseResolve(rest string) (wire.Resolve, error) {
	var out wire.Resolve
	for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
		name, after, ok := strings.Cut(rest, "=")
		if !ok {
			return out, fmt.Errorf("resolve to what? %q", rest)
		}
		r := wire.Resolution{Promise: wire.Ref(strings.TrimSuffix(name, "!")), Rejected: strings.HasSuffix(name, "!")}
		switch {
		case strings.HasPrefix(after, "("):
			var list string
			list, rest, _ = strings.Cut(after[1:], ")")
			for _, s := range strings.Fields(list) {
				r.Value.Slots = append(r.Value.Slots, wire.Ref(s))
			}
			r.Value.Body = "#" + slotsBody(r.Value.Slots)
		default:
			var word string
			word, rest, _ = strings.Cut(after, " ")
			switch {
			case len(word) > 2 && (word[1] == '+' || word[1] == '-'):
				r.Value = wire.CapData{Body: `#"$0"`, Slots: []wire.Ref{wire.Ref(word)}}
				if word[0] == 'p' {
					r.Value.Body = `#"&0"`
				}
			case word == "null":
				r.Value.Body = "#null"
			case strings.HasPrefix(word, "error:"): // a value that is an error
				r.Value.Body = `#{"#error":"` + word[len("error:"):] + `","name":"Error"}`
			default:
				r.Value.Body = `#"` + word + `"`
			}
		}
		out.Resolutions = append(out.Resolutions, r)
	}
	return out, nil
}

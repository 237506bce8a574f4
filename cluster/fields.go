package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tailscale/hujson"

	"ocapkernel.dev/internal/limits"
)

const notYet = "%q is not supported yet by this version"

// The fields in the order in which a message lists them. Fields that only later versions read are among them,
// so that they are refused by name.
var (
	clusterFields = []string{"bootstrap", "vats", "limits", "services", "io", "bundles"}
	vatFields     = slices.Concat(
		[]string{"module", "worker", "sha256", "parameters", "restart", "maxRestarts", "onFault", "reapInterval", "sandbox", "limits"},
		laterSources, laterVatFields)
	laterSources       = []string{"bundleSpec", "sourceSpec", "bundleName"}
	laterVatFields     = []string{"globals", "network", "platformConfig", "creationOptions"}
	vatLimitFields     = []string{"delivery", "syscalls", "frameBytes", "queue", "transcript"}
	clusterLimitFields = append(slices.Clone(vatLimitFields), "bootstrap")
)

// cluster reads the whole file into cfg.
func (d *decoder) cluster(root *hujson.Value, cfg *Config) {
	d.doc.places[""] = root.StartOffset
	known := clusterFields
	if o, ok := root.Value.(*hujson.Object); ok && slices.ContainsFunc(o.Members, func(m hujson.ObjectMember) bool {
		return m.Name.Value.(hujson.Literal).String() == "forceReset"
	}) {
		known = append(slices.Clone(known), "forceReset") // refused below, with a hint
	}
	o := d.object(root, "", known)
	if o.value.Value.Kind() != '{' {
		return
	}
	if v := o.fields["bundles"]; v != nil && !isEmpty(v) {
		d.problem(v, "bundles", notYet, "bundles")
	}
	if v := o.fields["forceReset"]; v != nil {
		d.problem(v, "forceReset", "a launch resets nothing here, so \"forceReset\" cannot be given: wipe the state with `kernel run --reset`, "+
			"or replace one subcluster with `kernel reload`")
	}
	cfg.Limits = d.limits(o, clusterLimitFields, DefaultLimits())
	cfg.Vats = d.vats(o, cfg.Limits)
	cfg.Bootstrap = d.bootstrap(o, cfg.Vats)
	cfg.IO = d.channels(o)
	cfg.Services = d.services(o, cfg.IO)
}

func isEmpty(v *hujson.Value) bool {
	switch v := v.Value.(type) {
	case *hujson.Object:
		return len(v.Members) == 0
	case *hujson.Array:
		return len(v.Elements) == 0
	default:
		return false
	}
}

func (d *decoder) bootstrap(o object, vats []Vat) string {
	names := make([]string, len(vats))
	for i, v := range vats {
		names[i] = v.Name
	}
	name, v, ok := d.str(o, "bootstrap")
	switch {
	case v == nil:
		d.problem(o.value, "", `"bootstrap" is missing: name the vat that is told of the others`)
	case ok && len(names) > 0 && !slices.Contains(names, name):
		d.problem(v, "bootstrap", "there is no vat %s: %s", quote(name), suggest(name, names))
	}
	return name
}

// vats reads all vats, those with mistakes too.
func (d *decoder) vats(o object, defaults Limits) []Vat {
	v := o.fields["vats"]
	if v == nil {
		d.problem(o.value, "", `"vats" is missing: give at least one, as in {"alice": {"module": "…"}}`)
		return nil
	}
	entries := d.entries(v, "vats")
	if len(entries) == 0 && v.Value.Kind() == '{' {
		d.problem(v, "vats", `expected at least one vat, as in {"alice": {"module": "…"}}`)
	}
	if len(entries) > maxVats {
		d.problem(v, "vats", "there are %d vats: the limit is %d", len(entries), maxVats)
		return nil
	}
	vats := make([]Vat, 0, len(entries))
	for _, e := range entries {
		path := join("vats", e.name)
		if !validVatName(e.name) {
			d.problem(e.at, "vats", "%s is not a name for a vat: "+
				"expected a letter, then up to 63 letters, digits, '_' and '-'", quote(e.name))
		}
		d.doc.places[path] = e.at.StartOffset
		vats = append(vats, d.vat(e, path, defaults))
	}
	return vats
}

func (d *decoder) vat(e entry, path string, defaults Limits) Vat {
	o := d.object(e.value, path, vatFields)
	vat := Vat{Name: e.name}
	if e.value.Value.Kind() != '{' {
		return vat
	}
	for _, name := range laterVatFields {
		if v := o.fields[name]; v != nil {
			d.problem(v, join(path, name), notYet, name)
		}
	}
	vat.Module = d.code(o, e.at)
	vat.Worker = d.worker(o)
	vat.SHA256 = d.sha256(o)
	vat.Parameters = d.parameters(o)
	vat.Restart = RestartPolicy(d.choice(o, "restart", string(RestartAlways), string(RestartNever)))
	vat.MaxRestarts = d.integer(o, "maxRestarts", defaultMaxRestarts, 0, maxMaxRestarts)
	vat.OnFault = FaultPolicy(d.choice(o, "onFault", string(FaultRestart), string(FaultStop)))
	vat.ReapInterval = d.integer(o, "reapInterval", limits.ReapInterval, 0, maxReapInterval)
	if mode := d.choice(o, "sandbox", "off", string(SandboxBestEffort), string(SandboxRequired)); mode != "off" {
		vat.Sandbox = SandboxMode(mode)
	}
	defaults.Bootstrap = 0
	vat.Limits = d.limits(o, vatLimitFields, defaults)
	return vat
}

// code reads the one source of code, which in this version is a module.
func (d *decoder) code(o object, at *hujson.Value) string {
	sources := append([]string{"module"}, laterSources...)
	given := slices.DeleteFunc(slices.Clone(sources), func(name string) bool { return o.fields[name] == nil })
	switch {
	case len(given) == 0:
		d.problem(at, o.path, "the vat has no code: give exactly one of %s", quoted(sources))
		return ""
	case len(given) > 1:
		d.problem(at, o.path, "the vat has %d sources of code, %s: keep one", len(given), quoted(given))
		return ""
	case given[0] != "module":
		d.problem(o.fields[given[0]], join(o.path, given[0]), notYet+": use \"module\"", given[0])
		return ""
	}
	name, v, ok := d.str(o, "module")
	if ok && !validModuleName(name) {
		d.problem(v, join(o.path, "module"), "%s is not a name for a module: "+
			"expected 1 to 128 letters, digits and '_', '.', '-', '/', as in \"bank.mint\"", quote(name))
	}
	return name
}

// worker returns the absolute path of an existing program.
func (d *decoder) worker(o object) string {
	given, v, ok := d.str(o, "worker")
	if !ok || given == "" {
		return "" // the stock program
	}
	path, where := d.absolute(given)
	problem := ""
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		problem = "does not exist: build it, or correct the path"
	case err != nil:
		problem = fmt.Sprintf("cannot be used: %v", reason(err))
	case !info.Mode().IsRegular():
		problem = "is not a file: name an executable program"
	case info.Mode().Perm()&0o111 == 0:
		problem = "is not executable: name a program, or make it executable"
	default:
		return path
	}
	d.problem(v, join(o.path, "worker"), "the program %s%s %s", quote(given), where, problem)
	return ""
}

func (d *decoder) sha256(o object) string {
	s, v, ok := d.str(o, "sha256")
	if !ok {
		return ""
	}
	if !validSHA256(s) {
		d.problem(v, join(o.path, "sha256"), "expected the 64 hex digits that sha256sum prints, got %s", quote(s))
		return ""
	}
	return strings.ToLower(s)
}

// parameters returns the object as standard JSON.
func (d *decoder) parameters(o object) []byte {
	v := o.fields["parameters"]
	if v == nil {
		return nil
	}
	path := join(o.path, "parameters")
	if v.Value.Kind() != '{' {
		d.problem(v, path, "expected an object { … }, got %s", kind(v))
		return nil
	}
	// It is not defined which of two fields of one name a module would take.
	for inner := range v.All() {
		if inner.Value.Kind() == '{' {
			d.entries(inner, path)
		}
	}
	plain := v.Clone()
	plain.Minimize()
	return plain.Pack()
}

func (d *decoder) limits(o object, known []string, defaults Limits) Limits {
	l := d.object(o.fields["limits"], join(o.path, "limits"), known)
	return Limits{
		Delivery:   d.duration(l, "delivery", defaults.Delivery, 10*time.Millisecond, time.Hour),
		Syscalls:   d.integer(l, "syscalls", defaults.Syscalls, 1, 1_000_000),
		FrameBytes: d.size(l, "frameBytes", defaults.FrameBytes, 64<<10, 16<<20),
		Queue:      d.integer(l, "queue", defaults.Queue, 1, 1_000_000),
		Transcript: d.integer(l, "transcript", defaults.Transcript, 0, limits.Transcript),
		Bootstrap:  d.duration(l, "bootstrap", defaults.Bootstrap, 100*time.Millisecond, time.Hour),
	}
}

func validVatName(s string) bool {
	return len(s) <= 64 && s != "" && isLetter(s[0]) && onlyLettersDigitsAnd(s, "_-")
}

func validModuleName(s string) bool {
	return len(s) <= 128 && s != "" && onlyLettersDigitsAnd(s, "_.-/")
}

func validSHA256(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdefABCDEF") == ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

func onlyLettersDigitsAnd(s, others string) bool {
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return true
}

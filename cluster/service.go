package cluster

import (
	"fmt"
	"slices"

	"github.com/tailscale/hujson"

	"ocapkernel.dev/internal/limits"
)

// Service is a kernel service that the bootstrap vat gets, under a name of its own, with options.
type Service struct {
	// Name is the name for the bootstrap vat: a letter, then up to 63 letters, digits, '_', '-' and '.'.
	Name string
	// Service is the kernel's name for it, of the same form. [CheckServices] checks that the kernel has it.
	Service string
	// Root is the absolute path of a directory that existed, for ServiceFS; for other services it is empty.
	Root string
	// ReadOnly is set for a ServiceFS that does not write.
	ReadOnly bool
	// Hosts are the hosts that a ServiceFetch may send requests to, at least one, in lower case, as they stand
	// in a URL: "host" for the usual port of http or https, or "host:port"; "*.host" stands for all names that
	// end in ".host".
	Hosts []string
}

// The services that need options.
const (
	// ServiceFS gives access to a directory.
	ServiceFS = "fs"
	// ServiceFetch sends requests to web servers.
	ServiceFetch = "fetch"
)

const (
	maxServices = limits.Services
	maxHosts    = limits.Hosts
)

// The options of each service, and the way to give them. Fields are in the order in which a message lists them.
var (
	serviceFields  = []string{"name", "service", "root", "readOnly", "hosts"}
	serviceOptions = map[string]string{"root": ServiceFS, "readOnly": ServiceFS, "hosts": ServiceFetch}
	serviceManner  = map[string]string{
		ServiceFS:    `needs a "root": write {"name": "files", "service": "fs", "root": "DIRECTORY"}`,
		ServiceFetch: `needs "hosts": write {"name": "web", "service": "fetch", "hosts": ["example.org"]}`,
	}
)

// services reads the services. It leaves out the elements that name a channel, since they stand for the
// channel. Services with mistakes are among the result if they have a name.
func (d *decoder) services(o object, channels []Channel) []Service {
	v := o.fields["services"]
	elements := d.array(v, "services")
	if len(elements) > maxServices {
		d.problem(v, "services", "there are %d services: the limit is %d", len(elements), maxServices)
		return nil
	}
	var services []Service
	isChannel := func(name string) bool {
		return slices.ContainsFunc(channels, func(c Channel) bool { return c.Name == name })
	}
	seen := map[string]bool{}
	for i := range elements {
		e, path := &elements[i], fmt.Sprintf("services[%d]", i)
		d.doc.places[path] = e.StartOffset
		var s Service
		var ok bool
		at, nameField, serviceField := e, path, path
		plain := kind(e) == kindString
		if plain {
			s.Name = e.Value.(hujson.Literal).String()
			s.Service = s.Name
			ok = isChannel(s.Name) || d.plainService(e, path, s.Name)
		} else {
			s, at, ok = d.service(e, path)
			nameField, serviceField = path+".name", path+".service"
		}
		switch {
		case !ok:
			continue
		case isChannel(s.Name) && !plain:
			d.problem(at, nameField, `%s is the name of a channel of "io": choose another`, quote(s.Name))
			continue
		case seen[s.Name]:
			d.problem(at, nameField, "the name %s is given twice: remove one of them, or choose another name", quote(s.Name))
			continue
		}
		seen[s.Name] = true
		if isChannel(s.Name) {
			continue
		}
		d.doc.services[s.Name] = serviceField
		services = append(services, s)
	}
	return services
}

// plainService checks a service that is given as a string, and reports whether it has a name.
func (d *decoder) plainService(v *hujson.Value, path, name string) bool {
	if manner := serviceManner[name]; manner != "" {
		d.problem(v, path, "%s %s", quote(name), manner)
	}
	return d.serviceName(v, path, name)
}

// service reads a service that is given as an object. ok reports whether it has a name, and at is the place of
// the name.
func (d *decoder) service(v *hujson.Value, path string) (s Service, at *hujson.Value, ok bool) {
	if v.Value.Kind() != '{' {
		d.problem(v, path, "expected the name of a service, or an object { … }, got %s", kind(v))
		return s, v, false
	}
	o := d.object(v, path, serviceFields)
	for _, field := range []string{"name", "service"} {
		if o.fields[field] == nil {
			d.problem(v, path, `%q is missing: write {"name": "…", "service": "…"}`, field)
		}
	}
	s.Name, at, ok = d.str(o, "name")
	ok = ok && d.serviceName(at, join(path, "name"), s.Name)
	service, w, given := d.str(o, "service")
	if !given || !d.serviceName(w, join(path, "service"), service) {
		return s, at, false
	}
	s.Service = service
	for _, field := range serviceFields {
		of := serviceOptions[field]
		if w := o.fields[field]; w != nil && of != "" && of != service {
			d.problem(w, join(path, field), "%q is an option of %q, not of %s: leave it out", field, of, quote(service))
		}
	}
	switch service {
	case ServiceFS:
		s.Root = d.root(o)
		s.ReadOnly = d.boolean(o, "readOnly")
	case ServiceFetch:
		s.Hosts = d.hosts(o)
	}
	return s, at, ok
}

func (d *decoder) serviceName(v *hujson.Value, path, name string) bool {
	ok := ValidServiceName(name)
	if !ok {
		d.problem(v, path, "%s is not a name for a service: "+
			"expected a letter, then up to 63 letters, digits, '_', '-' and '.'", quote(name))
	}
	return ok
}

// ValidServiceName reports whether a service may have the name s: a letter, then up to 63 letters, digits, _, -
// and .
func ValidServiceName(s string) bool {
	return len(s) <= 64 && s != "" && isLetter(s[0]) && onlyLettersDigitsAnd(s, "_-.")
}

// root returns the absolute path of an existing directory.
func (d *decoder) root(o object) string {
	given, v, ok := d.str(o, "root")
	switch {
	case v == nil:
		d.problem(o.value, o.path, "%q %s", ServiceFS, serviceManner[ServiceFS])
		return ""
	case !ok:
		return ""
	case given == "":
		d.problem(v, join(o.path, "root"), "the path is empty: name the directory")
		return ""
	}
	path, where := d.absolute(given)
	if problem := missingDirectory(path); problem != "" {
		d.problem(v, join(o.path, "root"), "the directory %s%s %s", quote(given), where, problem)
		return ""
	}
	return path
}

func (d *decoder) hosts(o object) []string {
	v, path := o.fields["hosts"], join(o.path, "hosts")
	if v == nil {
		d.problem(o.value, o.path, "%q %s", ServiceFetch, serviceManner[ServiceFetch])
		return nil
	}
	elements := d.array(v, path)
	switch {
	case len(elements) > maxHosts:
		d.problem(v, path, "there are %d hosts: the limit is %d", len(elements), maxHosts)
		return nil
	case len(elements) == 0 && v.Value.Kind() == '[':
		d.problem(v, path, `expected at least one host, such as "example.org"`)
	}
	var hosts []string
	for i := range elements {
		e, path := &elements[i], fmt.Sprintf("%s[%d]", path, i)
		if kind(e) != kindString {
			d.problem(e, path, "expected a string, got %s", kind(e))
			continue
		}
		given := e.Value.(hujson.Literal).String()
		host, problem := normalURLHost(given)
		switch {
		case problem != "":
			d.problem(e, path, "%s %s", quote(given), problem)
		case slices.Contains(hosts, host):
			d.problem(e, path, "%s is given twice: remove one of them", quote(host))
		default:
			hosts = append(hosts, host)
		}
	}
	return hosts
}

// CheckServices takes the results of [Load], [Parse] or [CheckModules], and adds a mistake for each service
// that the kernel does not know under its name, also if there are other mistakes already. names are the names
// that a message may suggest. A service that is not for this subcluster counts as not known. The error is
// [*Errors].
func CheckServices(cfg *Config, err error, known func(name string) bool, names []string) error {
	errs, cfg := resume(cfg, err)
	if errs == nil {
		return err
	}
	names = slices.Sorted(slices.Values(names))
	for _, s := range cfg.Services {
		if known(s.Service) {
			continue
		}
		errs.add(func() Problem {
			return cfg.ProblemAt(cfg.doc.services[s.Name], fmt.Sprintf("unknown service %q: %s", s.Service, suggest(s.Service, names)))
		})
	}
	return errs.err()
}

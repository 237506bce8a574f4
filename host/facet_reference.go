package host

import (
	"fmt"

	"ocapkernel.dev/capdata"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/service"
)

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
	s, found, err := o.machine.SystemNamed(name)
	if err != nil {
		o.refuse(err, func(err error) { reply(service.Fail(err)) })
		return
	}
	if found && s.State == kernel.SubRunning {
		reply(reference(s.Root, kernelObject))
		return
	}
	reply(service.Fail(fmt.Errorf("there is no running system subcluster %.80q", name)))
}

package kernel

import (
	"strings"

	"ocapkernel.dev/storage"
)

// UnitPlace is where a unit of input is stored.
type UnitPlace struct {
	// Service is the channel to which it goes back; empty if it is the value of Promise.
	Service, Promise KRef
	// Tied says that the unit is the value of a promise that only the memory of the calling vat knows, and that the vat
	// was not told of: if the memory is lost, the unit must go back.
	Tied bool
	// Asked is the channel of the unit, and By the vat that called, if that is known.
	Asked KRef
	By    VatID
}

// UnitPlaces finds the units of a simulation, which are texts that begin with "unit ".
func UnitPlaces(r storage.Reader) map[string][]UnitPlace {
	d := newDumper(r)
	places := map[string][]UnitPlace{}
	note := func(v Data, p UnitPlace) {
		if text, ok := strings.CutPrefix(v.Body, `#"unit `); ok {
			text = strings.TrimSuffix(text, `"`)
			places[text] = append(places[text], p)
		}
	}
	d.each("j.", func(rest string, b []byte) {
		var u unit
		d.t.codec.decode("j."+rest, b, u.fields)
		k, _, _ := strings.Cut(rest, ".")
		note(u.value, UnitPlace{Service: KRef(k), Asked: KRef(k)})
	})
	d.each("b.", func(rest string, b []byte) {
		k := KRef(rest)
		p := d.t.promises.look(d.t, k)
		place := UnitPlace{Promise: k, Asked: p.tie.call.Service, By: p.tie.vat}
		place.Tied = p.tie.unit != "" && d.t.onlyFor(p.tie.vat, p)
		note(d.t.value(p), place)
	})
	return places
}

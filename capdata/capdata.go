package capdata

// Data is one marshalled value. R is the kind of reference that its slots hold: a vat's names on the
// wire, the kernel's names inside the kernel.
type Data[R ~string] struct {
	// Body is smallcaps text: '#' and JSON.
	Body string
	// Slots are the references that the body mentions by index.
	Slots []R
}

// LoneSlot reports whether body is exactly one reference and nothing else, that is `#"$0"`, `#"$0.<iface>"` or
// `#"&0"`. It tests the shape of the text and parses nothing: a body of any other shape is data. nslots is the
// number of slots beside the body.
func LoneSlot(body string, nslots int) bool {
	if nslots != 1 || len(body) < 5 || body[:2] != `#"` || body[len(body)-1] != '"' {
		return false
	}
	in := body[2 : len(body)-1]
	if in == "&0" || in == "$0" {
		return true
	}
	if len(in) < 4 || in[:3] != "$0." {
		return false
	}
	for i := 3; i < len(in); i++ {
		if in[i] == '"' || in[i] == '\\' {
			return false
		}
	}
	return true
}

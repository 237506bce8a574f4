package kernel

// search checks that each unresolved promise without decider is the result of a message, unless a search is due, and
// that the rows of a search belong to one that goes on (I18).
func (c *checker) search() {
	codec := c.t.codec
	due, goesOn := false, false
	c.scan("w.", func(rest string, b []byte) {
		var w work
		codec.decode("w."+rest, b, w.fields)
		due = due || w.kind == workStranded
		goesOn = goesOn || w.kind == workStranded && w.stage == strandedUnderWay
	})
	if b, ok := c.t.get(keySearch); ok {
		c.row(func() { codec.decode(keySearch, b, new(search).fields) })
		if !goesOn {
			c.bad("I18: there is a search for stranded promises, and no work that goes on with it")
		}
	}
	c.scan(prefixSuspects, func(rest string, _ []byte) {
		if !goesOn {
			c.bad("I18: %s is said to be stranded perhaps, and no search goes on", rest)
		}
	})
	if due {
		return
	}
	for k, p := range sorted(c.promises) {
		if p.state == unresolved && p.decider == "" && !c.results[k] {
			c.bad("I18: %s has no decider, and is the result of no message", k)
		}
	}
}

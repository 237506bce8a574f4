package archtest

// Ownerships are the owners of this module.
func Ownerships() []Ownership {
	return []Ownership{{
		Package: "host",
		Whole:   "Shell",
		Link:    "newShell",
		Owners: []string{
			"loop", "core", "Shell", "vats", "work", "subclusters", "system", "directory", "objects", "registry", "tickets", "operator", "driver", "starts",
			"vat of vats", "rehearsal of vats", "reload of subclusters", "turn of system", "refusedUpgrade of system", "damaged of system",
			"making of objects", "binding of objects", "running of objects", "refusedCall of objects", "backlog",
		},
	}}
}

// Loops are the loops of this module, with the functions that their steps may not reach.
func Loops() []Steps {
	return []Steps{{
		Package: "host",
		Beside:  []string{"loop.aside", "time.AfterFunc", "context.AfterFunc", "workers.Starter.AfterRunning"},
		Called:  []string{"Shell.perform", "Shell.trace", "Shell.applied", "Shell.eased", "facetObject.Begin"},
		Runs:    []string{"loop.guard", "loop.attempt", "loop.takeReplies"},
		Blocks: []string{
			"Kind.Open", "Kind.Remove", "service.Kind.Open", "service.Kind.Remove", "service.Waiter.Wait", "programs.check", "Config.CheckConfig", "Config.Modules", "Config.Owned",
			"storage.Store.Close", "storage.Store.Commit", "storage.Witness.Close", "workers.Starter.Close", "workers.Worker.Ping",
		},
		Allowed: map[string]string{
			"loop.later":     "a lock that is held for an append",
			"backlog.add":    "a lock that is held for a sum",
			"backlog.remove": "a lock that is held for a sum",
			// Questions of a process to its own machine: a local file or a clock.
			"Shell.watchOwned": "looks at the state directory once a second",
			"beginStarts":      "opens the file of starts, once",
			"memoryKillsIn":    "looks for the files of the control group",
			"ownGroup":         "reads a file of /proc",
			"counterIn":        "reads a file of /proc or of the control group",
			"starts.write":     "writes a page into the file of starts",
			"settings.set":     "reads a clock",
		},
	}}
}

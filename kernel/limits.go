package kernel

import "ocapkernel.dev/internal/limits"

// Limits of the machine that no configuration changes.
const (
	// maxVats bounds the vats of one kernel.
	maxVats = limits.Vats
	// MaxSlots bounds the slots of one message or value.
	MaxSlots = limits.Slots
	// MaxParked bounds the messages parked on one promise.
	MaxParked = limits.Parked
	// maxQueueBytes bounds the messages in one queue: of a vat, of a service object, parked on one promise, and the
	// poisoned ones kept for one vat. The last one may be large.
	maxQueueBytes = limits.QueueBytes
	// MaxStoreKeyBytes bounds a key of a vat's store.
	MaxStoreKeyBytes = limits.KeyBytes
	// maxKills is the number of SIGKILLs from outside that one message survives, and one memory in its replays.
	maxKills = limits.Kills
	// maxAttempts is the number of deaths for one delivery until it is poisoned, maxDeadlines the same
	// for deliveries that did not end.
	maxAttempts, maxDeadlines = limits.Attempts, limits.Deadlines
	// maxPoisoned bounds the poisoned messages kept for one vat.
	maxPoisoned = limits.Poisoned
	// closureBytes and closureSlots cut the closure of one notification.
	closureBytes, closureSlots = limits.ClosureBytes, limits.ClosureSlots
	// closureDepth is the number of steps from the promise of a notification to the last one in its closure.
	closureDepth = limits.ClosureDepth
	// closureReads bounds the values that are read for a closure, though they may not fit into it.
	closureReads = 4 * closureBytes
	// maxLoneBytes bounds the body of a value that is one object and nothing else: its interface's name makes it long.
	maxLoneBytes = limits.InterfaceBytes
	// maxChain bounds the parked messages that wait for each other in a row, where a chain of them is walked.
	maxChain = limits.Chain
	// passRows is the number of removed rows that the store may pass over for the price of one row read, stepRows the
	// number for one question of a worker.
	passRows, stepRows = 50, 4000
	// freeUnits bounds the promises, with their slots, that one commit deletes in passing.
	freeUnits = 2000
	// maxReason bounds a reason that is repeated to the results of messages to a rejected promise.
	maxReason = 64 << 10
	// maxCalls bounds the calls of one service object that are begun and not done, maxCallBytes their bodies, which are
	// in memory; maxQueuedCalls bounds the calls that are queued.
	maxCalls, maxCallBytes, maxQueuedCalls = limits.Calls, limits.CallBytes, limits.QueuedCalls
	// MaxExports bounds the service objects that one reply makes, maxServices those that one subcluster has by
	// such calls.
	MaxExports, maxServices = 100, limits.ServiceObjects
	// maxWatches bounds the promises of how vats end that one vat has made and that still have holders, maxEndBytes the
	// values of those that are settled: each watcher has a copy.
	maxWatches, maxEndBytes = limits.Ends, limits.EndBytes
	// maxClass bounds the name of a class of units.
	maxClass = 100
	// headRows and headBytes are kept free in each commit for its own number and hash.
	headRows, headBytes = 1, 64
	// prefetchBytes bounds the stored state that travels with a delivery, prefetchReads the rows read for that.
	prefetchBytes, prefetchReads = limits.StateBytes, limits.StateReads
)

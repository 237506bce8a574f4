package limits

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Row is a limit as people read it.
type Row struct {
	// Limit says what is limited, Value to what, and Beyond what becomes of more.
	Limit, Value, Beyond string
}

// Table has a row for each limit that docs/caveats.md shows. The bytes and rows of a transaction are those of the store.
func Table() []Row {
	return []Row{
		{"vats of a kernel", plain(Vats), "the launch is refused"},
		{"vats of a cluster", plain(ClusterVats), "the configuration is refused"},
		{"messages in the queue of a vat", number(Queue) + " (`limits.queue`)", "the send is rejected with QUEUE_FULL. One that asks for no result is dropped, and logged; Go vats always ask"},
		{"messages parked on one promise", number(Parked), "the same"},
		{"bytes of the messages in one queue: of a vat, of a service object, parked on one promise", size(QueueBytes) + "; the last one may be large", "the same"},
		{"ends of vats for which one vat waits (`vat.Done`)", number(Ends) + ", each counted until its promise is no longer held", "the promise is rejected with LIMIT"},
		{"the values of ends in the notifications of one vat, while their promises are held", size(EndBytes), "further ends are VAT_TERMINATED, without the value"},
		{"notifications in the queue of a vat", "one for each promise that it knows; a second subscription adds none", "nothing is queued"},
		{"method and arguments of a call from outside", "4,278,196 bytes, " + plain(Slots) + " references, as for a crank", "the call is refused with LIMIT"},
		{"the stored rows of a launch: configuration, parameters", "4,278,196 bytes together", "the launch is refused with LIMIT"},
		{"the writes of a crank, with those that it causes the kernel to make", "a transaction of the database (94,371 rows, 8,556,393 bytes)", "the crank is dropped, and charged"},
		{"details of the reasons with which the kernel rejects promises, in one commit", size(RepeatedBytes), "the code alone is said"},
		{"parked messages that wait for each other in a row", number(Chain), "rejected with LIMIT"},
		{"the name of an interface, in a value that is one object and nothing else", size(InterfaceBytes), "messages to the promise are rejected with BAD_TARGET"},
		{"references in one value", plain(Slots), "the crank is illegal, or the host call refused"},
		{"references in one syscall of garbage collection, promises in one resolve", plain(Slots), "the crank is illegal"},
		{"a key of a vat's store", plain(KeyBytes) + " bytes", "the crank is illegal"},
		{"the writes of a crank itself, as the kernel counts them", "47,185 rows, 4,278,196 bytes (half a transaction of the database)", "the crank is dropped, and charged"},
		{"a frame from a worker", size(FrameBytes) + " (`limits.frameBytes`)", "the same"},
		{"syscalls of a crank", number(Syscalls) + " (`limits.syscalls`)", "the same"},
		{"nesting of a frame, of a value", plain(FrameDepth) + ", 64", "malformed; the value is not encoded or decoded"},
		{"time for a delivery", seconds(Delivery) + " (`limits.delivery`)", "the worker is killed"},
		{"time for a start", seconds(Start), "tried again, with waits from 100 ms to 15 s"},
		{"workers that start at a time", plain(Starts) + ", each for a tenth of a second", "they wait; vats whose worker was not ready by then start one after the other"},
		{"time for a launch", seconds(Bootstrap) + " (`limits.bootstrap`)", "the launch fails"},
		{"stored state that travels with a delivery", size(StateBytes) + ", of at most " + size(StateReads) + " that are looked at", "the worker asks for the rest"},
		{"the closure of a notification", size(ClosureBytes) + ", " + plain(ClosureSlots) + " references, " + plain(ClosureDepth) + " promises in a row", "its other promises are notified afterwards"},
		{"attempts at a delivery", plain(Attempts) + "; " + plain(Deadlines) + " for a deadline; " + plain(Kills) + " for a signal from outside", "poisoned"},
		{"poisoned messages kept", plain(Poisoned) + ", or " + size(QueueBytes) + ", for each vat", "dropped, and logged"},
		{"log of a worker", plain(LogLines) + " lines a second after the first " + plain(LogLinesAtOnce) + "; " + size(LogLineBytes) + " a line, of which " + size(LogTextBytes) + " of each text is kept", "lines are dropped, and counted in the log"},
		{"calls of one service object under way", plain(Calls) + ", and " + size(CallBytes) + " of bodies", "they wait"},
		{"a result of a service", size(ResultBytes) + ", " + plain(Slots) + " references, " + plain(ResultObjects) + " new objects", "rejected with LIMIT; what was done is done"},
		{"the state of a service object, of a program that embeds the kernel", "2,139,098 bytes (a quarter of a transaction); 1000 states and messages of one object, or 16 MiB, that the kernel has not taken yet", "the call that stores it returns an error with LIMIT, nothing changes"},
		{"reads, or accepts, that wait at a channel", plain(Reads), "rejected"},
		{"writes that wait at a channel", plain(Writes) + ", " + size(WriteBytes) + " together", "rejected"},
		{"a unit of a channel", size(UnitBytes) + " (`maxUnit`)", "the read is rejected, the unit dropped"},
		{"time for a write", seconds(Write) + " (`writeTime`)", "rejected"},
		{"a request to the control socket", size(RequestBytes), "refused; others in [control.md](control.md)"},
	}
}

// Markdown returns the table as docs/caveats.md has it.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| Limit | Value | Beyond it |\n|---|---|---|\n")
	for _, r := range Table() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Limit, r.Value, r.Beyond)
	}
	return b.String()
}

func plain(n int) string { return strconv.Itoa(n) }

// number writes a large number with a comma.
func number(n int) string {
	text := strconv.Itoa(n)
	return text[:len(text)-3] + "," + text[len(text)-3:]
}

func size(n int) string {
	if n%(1<<20) == 0 {
		return plain(n>>20) + " MiB"
	}
	return plain(n>>10) + " KiB"
}

func seconds(d time.Duration) string { return plain(int(d/time.Second)) + " s" }

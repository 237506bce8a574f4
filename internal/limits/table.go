package limits

import (
	"strconv"
	"strings"
	"time"
)

// Row is a limit as people read it.
type Row struct {
	// Limit says what is limited, Value to what, and Beyond what becomes of more.
	Limit, Value, Beyond string
}

// Table is a table of limits in a document.
type Table struct {
	// Document is the file below docs, and Name the name of the table in it.
	Document, Name string
	// Heading has the headings of the columns; there are two if the document says below the table what becomes of more.
	Heading []string
	Rows    []Row
}

// Tables returns the tables of all documents.
func Tables() []Table {
	limit := []string{"Limit", "Value", "Beyond it"}
	return []Table{
		{"caveats.md", "kernel", limit, kernel()},
		{"io.md", "channels", []string{"Of", "Limit", "Beyond it"}, channels()},
		{"services.md", "services", limit, services()},
		{"config.md", "configuration", []string{"Bound", ""}, configuration()},
		{"control.md", "control", []string{"Bound", ""}, control()},
	}
}

// kernel has the limits of vats and their messages. The bytes and rows of a transaction are those of the store.
func kernel() []Row {
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
		{"objects in one delivery of garbage collection: named in a page of a round, or told of", number(Known) + ", " + number(Told), "further deliveries have the rest"},
		{"the path of the directory for workers", plain(RunDirBytes) + " bytes", "workers over gRPC do not start, and the log says so"},
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
		{"calls of one service object that wait", number(QueuedCalls), "rejected with QUEUE_FULL"},
		{"service objects that calls have made for the vats of one subcluster", number(ServiceObjects), "rejected with LIMIT"},
		{"a result of a service", size(ResultBytes) + ", " + plain(Slots) + " references, " + plain(ResultObjects) + " new objects", "rejected with LIMIT; what was done is done"},
		{"the state of a service object, of a program that embeds the kernel", "2,139,098 bytes (a quarter of a transaction); 1000 states and messages of one object, or 16 MiB, that the kernel has not taken yet", "the call that stores it returns an error with LIMIT, nothing changes"},
		{"time for a program to say which modules it has", seconds(Modules), "the configuration is refused"},
		{"time for a sign of life of a vat", seconds(Ping), "TIMEOUT; the vat goes on"},
		{"the answer of a settled call", hours(KeepAnswers), "the ticket is unknown"},
		{"idle workers", plain(IdleWorkers), "the least recently used one ends; its vat starts another at its next message"},
		{"a request to the control socket", size(RequestBytes), "refused; others in [control.md](control.md#transport)"},
	}
}

// channels has the limits of IO channels.
func channels() []Row {
	return []Row{
		{"a line that is read", "`maxUnit` (" + size(UnitBytes) + "; " + size(LeastUnitBytes) + " to " + size(MostUnitBytes) + ")", "`read` rejects, `… a line is longer than N bytes: it was skipped`; the next read gives the next line"},
		{"a line that JSON makes longer (quotes, control characters)", "about 2 MB in a message", "`read` rejects with LIMIT, and the line is gone"},
		{"one write", size(WriteBytes) + ", the `\\n` of a line included", "`write` rejects with LIMIT"},
		{"input that no vat has read", size(ChunkBytes) + ", and `maxUnit` where that is a line, for each connection", "nothing more is taken: the client waits, by flow control"},
		{"writes that wait for the other end", plain(Writes) + ", and " + size(WriteBytes) + " together", "`write` rejects with LIMIT"},
		{"one write that waits", "`writeTime` (" + seconds(Write) + ")", "`write` rejects: nothing was sent and the connection goes on, or a part was sent and the connection is closed; the console goes on behind the part, with `line` on a line of its own"},
		{"reads, or accepts, that wait", plain(Reads), "`read` or `accept` rejects with LIMIT"},
		{"connections of one channel that were accepted and not closed", plain(Connections), "the next one waits in the operating system, and `accept` with it"},
		{"connections of all channels", "so many that the kernel keeps a third of its file descriptors (512 at most)", "the same; a `network` channel rejects with LIMIT, calls of `fs` and `fetch` too, and a channel or an `fs` is not opened"},
		{"calls of one channel that were not begun", number(QueuedCalls), "they reject with QUEUE_FULL"},
	}
}

// services has the limits of the built-in services.
func services() []Row {
	return []Row{
		{"`timer`: repetitions of a subcluster", plain(Repetitions), "`repeat` rejects with LIMIT"},
		{"`timer`: the time between two ticks", plain(int(Repetition.Milliseconds())) + " ms at least", "`repeat` rejects"},
		{"`random`: bytes of one call", plain(RandomBytes), "rejected"},
		{"`console`: entries of a vat", plain(ConsoleEntries) + " a second after the first " + plain(ConsoleEntriesAtOnce) + ", of " + size(ConsoleBytes) + " each", "entries are left out, and counted in the next one; text is cut"},
		{"`fs`: a file, or a part of one, that one call reads", number(FileText) + " bytes as text, " + number(FileBytes) + " as base64", "rejected with LIMIT"},
		{"`fs`: one call that writes", size(FileWrite), "the same"},
		{"`fs`: a file that is appended to", size(FileSize), "the same"},
		{"`fs`: entries of a directory that is listed", plain(DirectoryEntries), "the same"},
		{"`fs`: a path", plain(PathBytes) + " bytes", "rejected"},
		{"`fetch`: requests under way", plain(Fetches), "the next one waits"},
		{"`fetch`: time for a request, redirections included", seconds(Fetch), "rejected"},
		{"`fetch`: redirections", plain(Redirects), "rejected"},
		{"`fetch`: body and headers of a request", size(FetchBytes) + "; " + plain(FetchHeaders) + " headers, " + size(FetchHeaderBytes) + " together", "rejected"},
		{"`fetch`: body of an answer", "as a file that is read", "rejected with LIMIT"},
	}
}

// configuration has the limits of the text of a configuration.
func configuration() []Row {
	return []Row{
		{"size", size(ConfigBytes), ""},
		{"nesting of objects and arrays", plain(ConfigDepth), ""},
		{"values", number(ConfigValues), ""},
		{"vats", "1 to " + plain(ClusterVats), ""},
		{"channels, services", plain(Channels) + " of each", ""},
		{"hosts of one `fetch`", plain(Hosts), ""},
		{"system subclusters of a declaration", plain(Systems), ""},
	}
}

// control has the limits of the control socket.
func control() []Row {
	return []Row{
		{"request line", size(RequestBytes) + "; a longer one is answered and the connection closed", ""},
		{"connections", plain(Clients) + "; one more is told `LIMIT` and closed", ""},
		{"requests of one connection being worked on", plain(Requests) + "; more are not read until one is answered", ""},
		{"time for a client to take an answer", seconds(Take) + ", then the connection is closed", ""},
		{"arguments of a call; bytes of a method's name", number(Arguments) + "; " + number(MethodBytes), ""},
		{"entries of a page", number(Page), ""},
		{"`timeoutMs`", number(int(Wait.Milliseconds())), ""},
	}
}

// Markdown returns the table as its document has it.
func (t Table) Markdown() string {
	var b strings.Builder
	line := func(cells ...string) {
		text := "| " + strings.Join(cells[:len(t.Heading)], " | ") + " |\n"
		b.WriteString(strings.ReplaceAll(text, "|  |", "| |"))
	}
	line(t.Heading...)
	b.WriteString(strings.Repeat("|---", len(t.Heading)) + "|\n")
	for _, r := range t.Rows {
		line(r.Limit, r.Value, r.Beyond)
	}
	return b.String()
}

func plain(n int) string { return strconv.Itoa(n) }

// number writes a number with a comma for each thousand.
func number(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func hours(d time.Duration) string { return plain(int(d/time.Hour)) + " hours" }

func size(n int) string {
	if n%(1<<20) == 0 {
		return plain(n>>20) + " MiB"
	}
	return plain(n>>10) + " KiB"
}

func seconds(d time.Duration) string { return plain(int(d/time.Second)) + " s" }

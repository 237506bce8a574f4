package archtest

// Row describes a package, and the packages that it may import.
type Row struct {
	// Package is the path of the package below the module's; a path that ends in /... stands for all
	// packages below, but those that have a row of their own.
	Package string
	// About is its one line in ARCHITECTURE.md.
	About string
	// Imports are the packages of this module that it may import, tests aside; "..." allows all.
	Imports []string
	// Pure is set for a part of a deterministic state machine: see [Determinism].
	Pure bool
	// NoLink are modules that must not be linked into the package, also not through its imports.
	NoLink []string
}

// The modules that some packages must not link: the state machine knows no disk, process or log; a worker has
// no database, and neither has a client. wazero is for tests: it makes executable memory.
const (
	badger = "github.com/dgraph-io/badger/v4"
	plugin = "github.com/hashicorp/go-plugin"
	hclog  = "github.com/hashicorp/go-hclog"
	grpc   = "google.golang.org/grpc"
	cobra  = "github.com/spf13/cobra"
	wazero = "github.com/tetratelabs/wazero"
)

// Table is the import table of this module. ARCHITECTURE.md shows it; a test compares the two.
func Table() []Row {
	pure := []string{badger, plugin, hclog, grpc, cobra}
	worker := []string{badger, cobra}
	vat := []string{badger, cobra, plugin, grpc, hclog} // a worker's libraries are few and small
	return []Row{
		{Package: "errcode", About: "The codes of errors, what each means and what to do", NoLink: pure},
		{Package: "capdata", About: "Body and slots: smallcaps, JSON, limits", Imports: []string{"errcode"}, NoLink: pure},
		{Package: "wire", About: "Words of the kernel–vat boundary and their frames", Imports: []string{"capdata", "internal/limits"}, NoLink: pure},
		{Package: "wire/wiretest", About: "Frames as they arrive in another process, for tests that have one only", Imports: []string{"wire"}, NoLink: pure},
		{Package: "storage", About: "Ordered keys and values: reader, store, layers, witness", Imports: []string{"internal/fault"}, NoLink: pure},
		{Package: "storage/storagetest", About: "The suite that every store passes", Imports: []string{"storage"}, NoLink: pure},
		{Package: "storage/backup", About: "The form of a backup: the rows of one moment as a stream", Imports: []string{"storage"}, NoLink: pure},
		{Package: "storage/badgerstore", About: "The durable store", Imports: []string{"storage", "internal/logging", "internal/fault"}, NoLink: []string{plugin, grpc, hclog, cobra}},
		{Package: "cluster", About: "Cluster configuration: types, parsing, validation", Imports: []string{"internal/limits"}, NoLink: pure},
		{
			Package: "kernel", About: "The state machine: queues, promises, c-lists, counts, subclusters, host calls",
			Imports: []string{"capdata", "wire", "storage", "errcode", "internal/limits"}, Pure: true, NoLink: pure,
		},
		{Package: "workers", About: "What the shell needs of workers: how one is started, what it is told and says", Imports: []string{"wire"}, NoLink: pure},
		{Package: "workers/inproc", About: "Vats in this process's memory as workers, for tests in virtual time", Imports: []string{"wire", "wire/wiretest", "worker", "workers"}, NoLink: []string{badger, cobra}},
		{Package: "supervisor", About: "One OS process per vat: start, watch, limit, stop", Imports: []string{"wire", "workers", "internal/limits", "internal/logging", "internal/fault", "supervisor/sandbox"}, NoLink: worker},
		{Package: "supervisor/sandbox", About: "Confinement of a worker: what the worker gives up, and how the kernel sees it", NoLink: pure},
		{Package: "service", About: "Kernel services: what the shell needs of an object, objects of Go values, and the built-in ones", Imports: []string{"capdata", "errcode", "internal/limits"}, NoLink: worker},
		{Package: "service/timer", About: "The built-in timer, and the clock by which it waits", Imports: []string{"capdata", "service", "internal/limits"}, NoLink: worker},
		{Package: "ioservice", About: "IO channels: sockets, connections, files, the console; each a kernel service", Imports: []string{"capdata", "cluster", "service", "internal/limits", "errcode", "internal/fault"}, NoLink: pure},
		{Package: "host/pipeline", About: "Commits in groups: the committer, room for it, the witness", Imports: []string{"storage", "internal/fault"}, NoLink: pure},
		{
			Package: "host", About: "The shell: one goroutine owns the machine; commit, then effects",
			Imports: []string{"capdata", "wire", "storage", "cluster", "kernel", "workers", "service", "host/pipeline", "errcode", "internal/limits", "internal/logging", "internal/fault"}, NoLink: pure,
		},
		{Package: "host/enumeration", About: "Scenarios of a whole shell that dies at each of its steps (tests only)"},
		{Package: "worker", About: "The worker's side of the protocol, for any kind of vat", Imports: []string{"wire", "internal/logging", "internal/fault", "supervisor/sandbox"}, NoLink: vat},
		{Package: "liveslots", About: "Vat side: references, promises, turns, durable objects", Imports: []string{"capdata", "wire", "internal/limits", "errcode"}, NoLink: pure},
		{Package: "liveslots/internal/...", About: "Programs in two versions, for the tests of stored state", Imports: []string{"vat"}, NoLink: vat},
		{Package: "vat", About: "What the author of a Go vat imports", Imports: []string{"liveslots", "wire", "worker"}, NoLink: vat},
		{Package: "vat/grpcvat", About: "Worker programs that go-plugin serves over gRPC", Imports: []string{"vat", "wire", "worker", "internal/logging"}, NoLink: worker},
		{Package: "vat/attenuate", About: "Objects that stand for others, and forward less: caretaker, read-only, until, times", Imports: []string{"vat"}, NoLink: vat},
		{
			// It is a kernel for tests: the shell, with workers, a store and a clock in memory.
			Package: "vat/vattest", About: "Vats in a kernel in memory, in `go test`",
			Imports: []string{"vat", "cluster", "kernel", "storage", "worker", "wire", "capdata", "internal/logging", "host", "workers", "workers/inproc", "service", "service/timer"},
			NoLink:  worker,
		},
		{Package: "jsvat/engine", About: "JavaScript heaps: scripts, calls both ways, fuel and limits, images", Imports: []string{"jsvat/quickjs"}, NoLink: append([]string{wazero}, vat...)},
		{Package: "jsvat/quickjs", About: "QuickJS-NG as Go code, which the build makes where npm is there", NoLink: append([]string{wazero}, vat...)},
		{Package: "control", About: "Admin protocol over a Unix socket: server and client", Imports: []string{"capdata", "errcode", "internal/limits", "internal/fault"}, NoLink: worker},
		{Package: "control/controltest", About: "A kernel without vats, for tests of what speaks to one", Imports: []string{"control", "capdata", "errcode"}, NoLink: worker},
		{
			Package: "internal/backend", About: "A whole kernel: what is wired together, behind the admin protocol's Backend",
			Imports: []string{"cluster", "control", "internal/descriptors", "host", "ioservice", "kernel", "liveslots", "service", "service/timer", "internal/statedir", "storage", "storage/backup", "storage/badgerstore", "supervisor", "supervisor/sandbox", "wire", "errcode", "internal/logging", "internal/fault"},
		},
		{
			Package: ".", About: "The API for a Go program that embeds the kernel",
			Imports: []string{"cluster", "control", "internal/backend", "service", "storage", "storage/badgerstore", "supervisor/sandbox", "vat", "errcode"},
		},
		{Package: "examples/...", About: "Vats and clusters to read, run and copy", Imports: []string{"vat", "examples/..."}, NoLink: vat},
		{Package: "examples/embed", About: "A program that is kernel, worker program and service in one", Imports: []string{".", "service", "vat"}},
		{Package: "cmd/kernel", About: "The command line: flags, wiring, exit status", Imports: []string{"..."}},
		{Package: "cmd/vatworker", About: "The stock worker program: the examples' modules", Imports: []string{"vat", "examples/..."}, NoLink: vat},
		{Package: "host/model", About: "Random programs against a model that knows what can be reached (tests only)"},
		{Package: "bench", About: "Measurements beside their floors (tests only)"},
		{Package: "e2e", About: "Scripts over the real programs (tests only)"},
		{Package: "e2e/testworker", About: "Their worker program over the descriptor", Imports: []string{"worker", "wire", "e2e/testvats"}, NoLink: vat},
		{Package: "e2e/testplugin", About: "Their worker program over gRPC", Imports: []string{"vat/grpcvat", "worker", "e2e/testvats", "examples/..."}, NoLink: worker},
		{Package: "e2e/testvats", About: "Their vats, most of which misbehave, for each transport", Imports: []string{"vat", "worker", "wire", "capdata", "internal/programs"}, NoLink: vat},
		{Package: "internal/descriptors", About: "File descriptors that are kept back for what a process needs to go on", NoLink: worker},
		{Package: "internal/statedir", About: "The state directory: who may use it, one kernel at a time, room for it, how it is wiped", Imports: []string{"control", "internal/descriptors", "errcode", "internal/fault"}, NoLink: worker},
		{Package: "internal/limits", About: "The limits that documents name, and their tables", NoLink: pure},
		{Package: "internal/logging", About: "What log/slog leaves open: levels, components, lines of a worker", NoLink: pure},
		{Package: "internal/programs", About: "Random programs of Go vats, for tests that disturb them", Imports: []string{"vat"}, NoLink: worker},
		{Package: "internal/disktest", About: "File systems of their own for tests, and how to fill them", NoLink: worker},
		{Package: "internal/fault", About: "The places at which a test has a program die; nothing in a program that is built without the tag faults", NoLink: pure},
		{Package: "internal/torture", About: "What the long tests share: their time, seed, and table", NoLink: worker},
		{Package: "internal/scripttest", About: "What test scripts say, for cmd/kernel and e2e", NoLink: worker},
		{Package: "internal/archtest", About: "These rules"},
	}
}

package wire

// The kernel and a worker program must agree on these before the first frame.
const (
	// CookieKey and CookieValue are the environment variable by which a worker program knows that a
	// kernel started it. They are no secret: they save a person who starts it by hand from waiting.
	CookieKey   = "OCAPKERNEL_WORKER"
	CookieValue = "1c0b2f61-vat"
	// LogKey is the environment variable that tells a worker from which level on lines are wanted: trace, debug, info, warn, error or off.
	LogKey = "OCAPKERNEL_LOG"
	// DescriptorAddress is the address in the handshake of a worker whose frames travel on DataFD. Any other is that of a
	// socket on which the worker serves [Service].
	DescriptorAddress = "fd4"

	// DataFD is the worker's descriptor for frames. Its end of stream is the end of the worker.
	DataFD = 3
	// ControlFD is the worker's descriptor for signs of life: a stream of pings, each of PingBytes bytes. The
	// worker sends each ping back as it is.
	ControlFD = 4
	PingBytes = 8
	// ModulesFlag makes a worker program print the names of its modules as a JSON array, and exit.
	ModulesFlag = "--modules"
	// WorkerName is argv[0] of every worker. The vat's id and its module follow it, for a person who looks for
	// the process to kill.
	WorkerName = "vatworker"
)

// What a worker is that go-plugin serves over gRPC: see vat.proto.
const (
	// PluginName is the name under which go-plugin dispenses the plugin.
	PluginName = "vat"
	// Service and FramesMethod name the gRPC method whose stream carries the frames.
	Service      = "ocapkernel.v1.Vat"
	FramesMethod = "Frames"
	// EnvelopeBytes is how many bytes a message of that stream has beyond its frame, at most.
	EnvelopeBytes = 6
)

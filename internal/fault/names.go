package fault

// Name names a place. Each is passed to [Point] or [Torn] in one place.
type Name string

// The store. A log is the one of the memory table; a value log is one that was full.
const (
	StorePrepared      Name = "store-prepared"
	StoreOpened        Name = "store-opened"
	StoreBeforeCommit  Name = "store-before-commit"
	StoreAfterCommit   Name = "store-after-commit"
	StoreBeforeLog     Name = "store-before-log"
	StoreFullLogSynced Name = "store-full-log-synced"
	StoreBeforeMove    Name = "store-before-move"
	StoreAfterMove     Name = "store-after-move"
	StoreBeforeRemoval Name = "store-before-removal"
	StoreAfterRemoval  Name = "store-after-removal"
	StoreBeforeSync    Name = "store-before-sync"
	StoreAfterSync     Name = "store-after-sync"
	StoreBeforeClose   Name = "store-before-close"
	StoreClosed        Name = "store-closed"
)

// The witness.
const (
	WitnessBeforeRename Name = "witness-before-rename"
	WitnessRenamed      Name = "witness-renamed"
	WitnessTorn         Name = "witness-torn"
	WitnessSynced       Name = "witness-synced"
)

// The groups of commits.
const (
	GroupTaken        Name = "group-taken"
	GroupCommitted    Name = "group-committed"
	WitnessWritten    Name = "witness-written"
	WitnessBeforeSync Name = "witness-before-sync"
	GroupDurable      Name = "group-durable"
)

// The loop, and the effects of durable commits.
const (
	BetweenEffects     Name = "between-effects"
	CommitApplied      Name = "commit-applied"
	StateRead          Name = "state-read"
	StateRecovered     Name = "state-recovered"
	CallAccepted       Name = "call-accepted"
	TicketAnswered     Name = "ticket-answered"
	TicketAcknowledged Name = "ticket-acknowledged"
	NoteBefore         Name = "note-before"
)

// Workers, as the shell sees them.
const (
	WorkerBeforeStart Name = "worker-before-start"
	WorkerStarted     Name = "worker-started"
	WorkerExited      Name = "worker-exited"
	WorkerDetached    Name = "worker-detached"
	CrankBegun        Name = "crank-begun"
	CrankDone         Name = "crank-done"
	ReplayBegins      Name = "replay-begins"
	BetweenReplayed   Name = "between-replayed"
	ReplayDone        Name = "replay-done"
	MemoryGivenUp     Name = "memory-given-up"
	ReferencesAsked   Name = "references-asked"
)

// Subclusters.
const (
	LaunchBegun    Name = "launch-begun"
	ServicesOpened Name = "services-opened"
	LaunchSettled  Name = "launch-settled"
	EndBegun       Name = "end-begun"
	SubclusterGone Name = "subcluster-gone"
	ReloadBegun    Name = "reload-begun"
	Relaunch       Name = "relaunch"
	ResetEnded     Name = "reset-ended"
	SystemTurn     Name = "system-turn"
	ChangeApplied  Name = "change-applied"
)

// Services.
const (
	CallBegun   Name = "call-begun"
	CallReplied Name = "call-replied"
	ServiceMade Name = "service-made"
	ServiceEnds Name = "service-ends"
	CallSettled Name = "call-settled"
)

// The admin protocol.
const (
	AnswerBefore Name = "answer-before"
	AnswerAfter  Name = "answer-after"
)

// The supervisor.
const (
	FrameBefore  Name = "frame-before"
	FrameAfter   Name = "frame-after"
	FrameTorn    Name = "frame-torn"
	FrameRead    Name = "frame-read"
	HelloRead    Name = "hello-read"
	Spawn        Name = "spawn"
	Spawned      Name = "spawned"
	WorkerReaped Name = "worker-reaped"
	WorkerKilled Name = "worker-killed"
)

// The worker.
const (
	InWorkerFrameRead   Name = "in-worker-frame-read"
	InWorkerFrameBefore Name = "in-worker-frame-before"
	InWorkerFrameTorn   Name = "in-worker-frame-torn"
	InWorkerFrameSent   Name = "in-worker-frame-sent"
	InWorkerCrankDone   Name = "in-worker-crank-done"
	InWorkerHello       Name = "in-worker-hello"
)

// Channels.
const (
	ReadBefore          Name = "read-before"
	ReadAfter           Name = "read-after"
	WriteBefore         Name = "write-before"
	WriteAfter          Name = "write-after"
	FileRead            Name = "file-read"
	Connected           Name = "connected"
	ConnectionHandedOut Name = "connection-handed-out"
	PeerClosed          Name = "peer-closed"
	ChannelClosed       Name = "channel-closed"
	SocketBound         Name = "socket-bound"
)

// The state directory, backups and compaction.
const (
	MarkWritten        Name = "mark-written"
	RestoreLoaded      Name = "restore-loaded"
	RestoreChecked     Name = "restore-checked"
	RestoreMarkRemoved Name = "restore-mark-removed"
	RowsLoaded         Name = "rows-loaded"
	ResetEntry         Name = "reset-entry"
	ResetEnds          Name = "reset-ends"
	CompactLoaded      Name = "compact-loaded"
	CompactSynced      Name = "compact-synced"
	CompactExchanged   Name = "compact-exchanged"
	CompactEnds        Name = "compact-ends"
	BackupPiece        Name = "backup-piece"
	BackupSynced       Name = "backup-synced"
	BackupRenamed      Name = "backup-renamed"
)

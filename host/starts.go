package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"ocapkernel.dev/internal/fault"
	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage"
)

// starts is the note that a kernel leaves for the next one, in a small file: the vats that it works for. Some deaths of a
// kernel cannot be caught (a fatal error of Go, a commit that fails, the system's SIGKILL for lack of memory). If the work
// for one vat leads to such a death, each further start would die of it, too, and the state could not be run any more. The
// note names that vat, and the next kernel starts with that vat held back.
//
// Noted are always the vats whose memory is being made again. After a death of its own doing the kernel is careful:
// for its first moments it makes one memory at a time, and notes each step that it does for a vat.
//
// The table says where each death is counted. The machine counts deaths of workers (kernel/died.go), in the vat's row; this
// file counts deaths of kernels. Each bound is a number of deaths in a row: progress sets it back.
//
//	process             cause                            while                counts as              bound, and then
//	worker              its own doing, a limit           a delivery           attempts               3 (2 deadlines): poisoned
//	worker              SIGKILL of others, no memory     a delivery           kills                  20: poisoned
//	worker              its own doing, a limit           anything             deaths                 maxRestarts: stopped
//	worker              its own doing, a limit           its memory is made   replays                3: the memory is given up
//	worker              SIGKILL of others, no memory     its memory is made   replayKills            20: the memory is given up
//	kernel              an error, a crash                a memory is made,    suspicion.Own          3: the vat is held back
//	                                                     or, careful, a step
//	kernel              SIGKILL, no memory               a memory is made     suspicion.Own + Short  5: the vat is held back
//	kernel              SIGKILL, more than 5 s after     a memory is made     suspicion.All          20: the vat is held back
//	                    its start
//
// A worker that the system kills for lack of memory cannot be told from a worker that a person kills: both are kills of
// others, and the kernel lives. So the bound is the higher one. A kill of the kernel itself for lack of memory is inferred
// from memoryKills, which counts kills of its workers, too; that takes 5 in a row, not 3.
//
// The file is only a help. A write needs no space and no descriptor, and survives the death of the process. A power loss
// may leave the file unreadable; it counts as empty then.
//
// Only the loop uses it, and Open before. A nil *starts notes nothing.
type starts struct {
	file *os.File
	log  *slog.Logger
	note note
	// careful says that the last kernel died by its own doing.
	careful bool
	written int // bytes of the file
	failed  bool
}

const (
	// maxDeaths is how many deaths in a row, of the kernel's own doing and each while it worked for the same vat, hold
	// that vat back.
	maxDeaths = 3
	// maxKills is the same for deaths by SIGKILL whose sender is unknown: a person or a test kills a kernel at any moment, the
	// system kills it for the memory of a vat. A kill within lateKill of the start is not counted.
	maxKills = 20
	lateKill = 5 * time.Second
	// maxShort is the same for deaths by SIGKILL while the system was killing processes for lack of memory. One of them was
	// most likely this kernel; it is not likely that so many times it was a worker, and the kernel died of another cause.
	maxShort = 5
	// wellTime is how long a kernel has to run so that its start went well.
	wellTime = 30 * time.Second
	// maxNoted bounds the vats that are noted, so that the note fits into a page. When more memories than that are
	// being made at a time, the others are not noted; after a death there is one at a time.
	maxNoted  = 32
	noteBytes = 4096
)

// note is the content of the file.
type note struct {
	// Running says that a kernel runs, or has died without a word. Began is when it started, in milliseconds.
	Running bool  `json:"running,omitempty"`
	Began   int64 `json:"began,omitempty"`
	// Failed is the error with which the kernel ended by itself.
	Failed string `json:"failed,omitempty"`
	// Deaths counts the starts in a row that the kernel itself has ended.
	Deaths int `json:"deaths,omitempty"`
	// Step is the vat that a step of the loop is working for. Open are the vats whose memory is being made again.
	Step kernel.VatID   `json:"step,omitempty"`
	Open []kernel.VatID `json:"open,omitempty"`
	// memoryKills is the count of the moment when the newest of Open was noted.
	memoryKills
	// Suspects are the vats that each of the last deaths has met.
	Suspects map[kernel.VatID]suspicion `json:"suspects,omitempty"`
	// Held are the vats that are held back until a person says otherwise, and why.
	Held map[kernel.VatID]string `json:"held,omitempty"`
}

// suspicion counts deaths in a row: deaths of the kernel's own doing, deaths for lack of memory, and all deaths.
type suspicion struct {
	Own   int `json:"own"`
	Short int `json:"short,omitempty"`
	All   int `json:"all"`
}

// judge returns the first note of a kernel that starts now, given the last note n of the kernel before. crashed says that
// the kernel before has left the output of a Go crash; kills counts the processes killed for lack of memory by now.
func (n note) judge(crashed bool, kills memoryKills, now time.Time) note {
	own := n.Failed != "" || n.Running && crashed
	forMemory := n.Running && !own && kills.since(n.memoryKills)
	next := note{Running: true, Began: now.UnixMilli(), memoryKills: kills, Deaths: n.Deaths, Suspects: n.Suspects, Held: maps.Clone(n.Held)}
	if own {
		next.Deaths++
	}
	if !own && !forMemory && (!n.Running || now.UnixMilli()-n.Began < lateKill.Milliseconds()) {
		return next
	}
	next.Suspects = map[kernel.VatID]suspicion{}
	for _, v := range n.charged() {
		s := n.Suspects[v]
		s.All++
		if own {
			s.Own++
		}
		if forMemory {
			s.Short++
		}
		if s.Own < maxDeaths && s.Own+s.Short < maxShort && s.All < maxKills {
			next.Suspects[v] = s
			continue
		}
		why := fmt.Sprintf("%d kernels in a row died while they worked for it", s.All)
		switch {
		case n.Failed != "":
			why += ", the last with: " + n.Failed
		case forMemory:
			why += fmt.Sprintf(", %d of them when the system killed processes for lack of memory", s.Short)
		}
		if next.Held == nil {
			next.Held = map[kernel.VatID]string{}
		}
		if len(next.Held) < maxNoted {
			next.Held[v] = why
		}
	}
	return next
}

// charged returns the vats that a death is charged to: the vat that a step was working for, else the vats whose memory was
// being made.
func (n note) charged() []kernel.VatID {
	if n.Step != "" {
		return []kernel.VatID{n.Step}
	}
	return n.Open
}

// beginStarts opens the file and notes that a kernel starts. A failure is logged, and the kernel starts without the note.
func beginStarts(path string, crashed bool, log *slog.Logger) *starts {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", path)
		}
		if err != nil {
			_ = f.Close() // the first error says more
		}
	}
	if err != nil {
		log.Warn("deaths of this kernel are not counted", "err", err)
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(f, 4*noteBytes)) // an unreadable file counts as empty
	last, ok := decodeNote(string(text))
	if !ok && len(text) > 0 {
		log.Warn("what the last kernel has noted of its work cannot be read", "file", path)
	}
	first := last.judge(crashed, countMemoryKills(), time.Now())
	s := &starts{file: f, log: log, note: first, careful: first.Deaths > 0, written: len(text)}
	if s.careful {
		log.Warn("the last kernel died by itself: this one makes one vat's memory at a time, and notes for whom it works",
			"deaths", s.note.Deaths, "err", last.Failed, "worked for", strings.Join(names(last.charged()), " "))
	}
	s.write()
	return s
}

func names(vats []kernel.VatID) (out []string) {
	for _, v := range vats {
		out = append(out, string(v))
	}
	return out
}

// held returns the vats that are to be held back, and why.
func (s *starts) held() map[kernel.VatID]string {
	if s == nil {
		return nil
	}
	return s.note.Held
}

// isCareful reports whether the last kernel died by its own doing, and this one has not run well yet.
func (s *starts) isCareful() bool { return s != nil && s.careful }

// deaths returns how many starts in a row the kernel itself has ended.
func (s *starts) deaths() int {
	if s == nil {
		return 0
	}
	return s.note.Deaths
}

// open notes that a vat's memory is being made again.
func (s *starts) open(v kernel.VatID) {
	if s == nil || slices.Contains(s.note.Open, v) || len(s.note.Open) >= maxNoted {
		return
	}
	s.note.Open = append(s.note.Open, v)
	s.note.memoryKills = countMemoryKills()
	s.write()
}

// shut notes that a vat's memory is being made no more.
func (s *starts) shut(v kernel.VatID) {
	if s == nil {
		return
	}
	if i := slices.Index(s.note.Open, v); i >= 0 {
		s.note.Open = slices.Delete(s.note.Open, i, i+1)
		s.write()
	}
}

// cleared notes that a vat's memory was made, or given up: no death was of that.
func (s *starts) cleared(v kernel.VatID) {
	if s == nil {
		return
	}
	_, suspected := s.note.Suspects[v]
	delete(s.note.Suspects, v)
	if s.shut(v); suspected {
		s.write()
	}
}

// step notes for which vat a step is done, if the kernel is careful. An empty one is none.
func (s *starts) step(v kernel.VatID) {
	if s.isCareful() && s.note.Step != v {
		s.note.Step = v
		s.write()
	}
}

// release removes the suspicion against a vat, and its hold.
func (s *starts) release(v kernel.VatID) {
	if s == nil {
		return
	}
	_, held := s.note.Held[v]
	_, suspected := s.note.Suspects[v]
	if held || suspected {
		delete(s.note.Held, v)
		delete(s.note.Suspects, v)
		s.write()
	}
}

// ranWell notes that the start went well: the vats that this run has recovered do not kill the kernel.
func (s *starts) ranWell() {
	if s == nil {
		return
	}
	s.careful = false
	s.note.Deaths, s.note.Step = 0, ""
	maps.DeleteFunc(s.note.Suspects, func(v kernel.VatID, _ suspicion) bool { return !slices.Contains(s.note.Open, v) })
	s.write()
}

// end notes how the kernel ends, and closes the file.
func (s *starts) end(err error) {
	if s == nil {
		return
	}
	s.note.Running = false
	if err == nil || errors.Is(err, storage.ErrNoRoom) { // a full disk is no vat's doing
		s.note = note{Held: s.note.Held}
	} else {
		s.note.Failed = oneLine(err)
		if v := s.note.charged(); len(v) > 0 {
			s.log.Error("the kernel ends by itself while it works for a vat: after three such ends in a row a kernel starts with that vat held back",
				"vats", strings.Join(names(v), " "), "deaths", s.note.Deaths+1, "err", err)
		}
	}
	s.write()
	s.leave()
}

// leave closes the file as it is.
func (s *starts) leave() {
	if s != nil {
		_ = s.file.Close() // it is only a help
	}
}

// write writes the note over the last one.
func (s *starts) write() {
	text := s.note.encode()
	size := len(text)
	if pad := s.written - size; pad > 0 { // one write: the file is never between two notes
		text += strings.Repeat("\n", pad)
	}
	fault.Point(fault.NoteBefore)
	_, err := s.file.WriteAt([]byte(text), 0)
	if err != nil && !s.failed {
		s.log.Warn("deaths of this kernel are not counted", "err", err)
	}
	s.failed = err != nil
	s.written = max(s.written, size)
}

const noteHead = "kernel starts 1 "

// encode makes a line that a person can read, with a checksum.
func (n note) encode() string {
	if len(n.Failed) > noteBytes/8 {
		n.Failed = strings.ToValidUTF8(n.Failed[:noteBytes/8], "") + "…"
	}
	b, err := json.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("host: a note that cannot be encoded: %v", err)) // there is nothing in it that could fail
	}
	return fmt.Sprintf("%s%08x %s\n", noteHead, crc32.ChecksumIEEE(b), b)
}

// decodeNote decodes an encoded note, with or without empty lines behind it.
func decodeNote(text string) (n note, ok bool) {
	text = strings.TrimRight(text, "\n")
	sum, body, found := strings.Cut(strings.TrimPrefix(text, noteHead), " ")
	if !found || !strings.HasPrefix(text, noteHead) || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) {
		return note{}, false
	}
	return n, json.Unmarshal([]byte(body), &n) == nil
}

// beginWork notes that this kernel starts, and reads the note of the last kernel.
func (vs *vats) beginWork() {
	if vs.cfg.StartsFile == "" || vs.cfg.Paused {
		return
	}
	vs.starts = beginStarts(vs.cfg.StartsFile, vs.cfg.Crashed, vs.log)
	vs.earlierDeaths = vs.starts.deaths()
}

// holdKillers holds back the vats that the last kernels have died of. There may be one that is gone by now.
func (vs *vats) holdKillers(vats []kernel.Vat) {
	for id, why := range maps.Clone(vs.starts.held()) {
		i := slices.IndexFunc(vats, func(v kernel.Vat) bool { return v.ID == id && !v.Terminated })
		if i < 0 {
			vs.starts.release(id)
			continue
		}
		vs.hold(vs.vat(id), errors.New(why))
	}
}

// ranWell notes that the start went well.
func (vs *vats) ranWell() { vs.starts.ranWell() }

// remembering reports whether some vat's worker is starting, or being given its memory.
func (vs *vats) remembering() bool {
	for _, v := range vs.table {
		if v.worker != nil && !v.up {
			return true
		}
	}
	return false
}

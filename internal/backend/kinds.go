package backend

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/host"
	"ocapkernel.dev/internal/descriptors"
	"ocapkernel.dev/internal/logging"
	"ocapkernel.dev/ioservice"
	"ocapkernel.dev/service"
	"ocapkernel.dev/service/timer"
	"ocapkernel.dev/supervisor"
)

// kinds are the service objects of which each subcluster has its own: its IO channels, and those built-in
// services of which one vat's use must not be another's trouble.
func (b *Backend) kinds() map[string]service.Kind {
	kinds := map[string]service.Kind{
		host.KindIO: {Open: b.openChannel, Traits: ioservice.ChannelTraits, Configure: configureChannel, Remove: b.removeChannel},
		ioservice.ConnectionKind: {
			Traits: ioservice.ConnectionTraits,
			Lost:   errcode.ConnectionLost, Why: "the connection ended with the kernel that had it",
		},
		"random": {Service: true, Open: func(service.Opening) (service.Object, error) { return service.Random(), nil }},
		"console": {Service: true, Open: func(o service.Opening) (service.Object, error) {
			return service.Console(logging.Named(b.opts.Logger, "console").With("service", o.Name)), nil
		}},
		cluster.ServiceFS: {Service: true, Open: func(o service.Opening) (service.Object, error) {
			c, err := cluster.UnmarshalStoredService(o.Config)
			if err != nil {
				return nil, err
			}
			if err := b.spare("service "+o.Name, 1); err != nil {
				return nil, err
			}
			return service.OpenFiles(c.Root, service.FilesOptions{ReadOnly: c.ReadOnly, Allow: b.allowCall})
		}, Traits: service.FilesTraits, Configure: configureFiles},
		cluster.ServiceFetch: {Service: true, Open: func(o service.Opening) (service.Object, error) {
			c, err := cluster.UnmarshalStoredService(o.Config)
			if err != nil {
				return nil, err
			}
			return service.NewFetch(service.FetchOptions{Hosts: c.Hosts, Allow: b.allowCall})
		}, Traits: service.FetchTraits, Configure: configureFetch},
	}
	maps.Copy(kinds, timer.Kinds())
	return kinds
}

// spare returns an error if the process keeps its last descriptors for itself, so that an object which holds some for as
// long as it lives cannot be opened now.
func (b *Backend) spare(what string, n int) error {
	if b.budget.Allows(descriptors.Channels, n) {
		return nil
	}
	return fmt.Errorf("%s: the kernel keeps its last file descriptors for itself: try again when connections have ended, or raise the limit (ulimit -n)", what)
}

// allowCall reports whether there are descriptors for another call of a built-in service.
func (b *Backend) allowCall() bool {
	return b.budget.Allows(descriptors.Channels, service.CallDescriptors)
}

// BuiltinServices are the names of the services that every kernel has, for the check of a configuration without
// one. With system they are those that a system subcluster may name.
func BuiltinServices(system bool) []string {
	names := []string{"console", cluster.ServiceFetch, cluster.ServiceFS, "random", timer.Kind}
	if system {
		names = append(names, host.FacetName)
	}
	slices.Sort(names)
	return names
}

// serviceNames are those that a configuration can name in this run.
func (b *Backend) serviceNames(system bool) []string {
	names := BuiltinServices(system)
	for _, name := range slices.Sorted(maps.Keys(b.opts.Services)) {
		if system || !b.opts.Services[name].SystemOnly {
			names = append(names, name)
		}
	}
	return names
}

func (b *Backend) openChannel(o service.Opening) (service.Object, error) {
	c, err := cluster.UnmarshalStoredChannel(o.Config)
	if err != nil {
		return nil, err
	}
	if open := b.opts.Channels[c.Type]; open != nil {
		return open(c, o)
	}
	if err := b.spare("channel "+c.Name, 1); err != nil {
		return nil, err
	}
	object, err := b.sockets().Open(o.Name, ioservice.ConfigOf(c), ioservice.Options{
		State: o.State, Commit: b.commitOf(o), Stdin: b.opts.Stdin, Stdout: b.opts.Stdout,
		Allow: func() bool { return b.budget.Allows(descriptors.Channels, 1) },
		Log:   logging.Named(b.opts.Logger, "io").With("service", o.Name),
	})
	if err != nil {
		return nil, err
	}
	return object, nil
}

// sockets is where the sockets of channels are.
func (b *Backend) sockets() ioservice.Sockets { return ioservice.Sockets(shortDir(b.opts.Dir, "io")) }

// commitOf returns the function with which a channel stores its state: a short text, of which it stores one at a time, so
// that the bounds of Commit are never reached.
func (b *Backend) commitOf(o service.Opening) func(state []byte, then func()) {
	return func(state []byte, then func()) {
		if err := o.Commit(state, then); err != nil {
			logging.Named(b.opts.Logger, "io").Error("the state of a channel is not stored", "service", o.Name, "err", err)
		}
	}
}

// configureChannel is the Configure of the [service.Kind] of channels. It returns nil for a channel of the program that embeds
// the kernel: only channels of package ioservice can be configured.
func configureChannel(o service.Object, config []byte) func() {
	ch, ok := o.(*ioservice.Object)
	c, err := cluster.UnmarshalStoredChannel(config)
	if !ok || err != nil {
		return nil
	}
	return func() { _ = ch.Configure(ioservice.ConfigOf(c)) } // cannot fail: [cluster.Diff] has compared the fields that cannot change
}

func configureFiles(o service.Object, config []byte) func() {
	f, ok := o.(*service.Files)
	c, err := cluster.UnmarshalStoredService(config)
	if !ok || err != nil {
		return nil
	}
	return func() { f.SetReadOnly(c.ReadOnly) }
}

func configureFetch(o service.Object, config []byte) func() {
	f, ok := o.(*service.Fetch)
	c, err := cluster.UnmarshalStoredService(config)
	if !ok || err != nil {
		return nil
	}
	return func() { _ = f.SetHosts(c.Hosts) } // the configuration was parsed: they are hosts
}

// removeChannel removes the socket and the link that an earlier run has left of a channel.
func (b *Backend) removeChannel(name string, config []byte) {
	c, err := cluster.UnmarshalStoredChannel(config)
	if err == nil {
		err = b.sockets().Remove(name, ioservice.ConfigOf(c))
	}
	if err != nil {
		b.opts.Logger.Warn("what an earlier run left of a channel is still there", "service", name, "err", err)
	}
}

// modules asks a worker program for its modules, if it has the hash that it must have; the empty name is the stock one.
func (b *Backend) modules(ctx context.Context, program, sha256 string) ([]string, error) {
	if program == "" {
		program = b.opts.Worker
	}
	return supervisor.Modules(ctx, program, sha256)
}

// WorkerModules returns the names of the modules in a worker program, which is named as in a configuration, with the hash
// that it must have, empty if any will do; the empty name is the stock one. To find that out, the program is executed,
// unless it has another hash.
func WorkerModules(ctx context.Context, program, sha256 string) ([]string, error) {
	program, err := workerProgram(program)
	if err != nil {
		return nil, err
	}
	return supervisor.Modules(ctx, program, sha256)
}

// CheckConfig completes the check of [cluster.Load], whose results it takes, without a kernel: the worker programs must contain
// the modules, and the services must be built-in ones. With system, the services of system subclusters are allowed, too.
func CheckConfig(ctx context.Context, cfg *cluster.Config, err error, system bool) error {
	return checkConfig(ctx, cfg, err, WorkerModules, BuiltinServices(system))
}

// runDirectory is the name of the supervisor's directory.
const runDirectory = "run"

// shortDir is a directory for sockets: in the state, or, where that makes a path too long for a socket's name, under a name
// that is this state's in the directory for temporary files, or in /tmp, where that one is too long as well.
func shortDir(state, name string) string {
	most := 80 // of 107, which leaves room for a file in it
	if name == runDirectory {
		most = supervisor.MaxRunDir
	}
	if dir := filepath.Join(state, name); len(dir) <= most {
		return dir
	}
	sum := sha256.Sum256([]byte(state))
	short := fmt.Sprintf("ocapkernel-%d-%s", os.Getuid(), hex.EncodeToString(sum[:6]))
	if name != runDirectory {
		short += "-" + name
	}
	for _, temporary := range []string{os.TempDir(), "/tmp"} {
		dir := filepath.Join(temporary, short)
		if info, err := os.Stat(temporary); err == nil && info.IsDir() && len(dir) <= most {
			return dir
		}
	}
	return filepath.Join(os.TempDir(), short)
}

// channelOf describes an IO channel.
func channelOf(s host.ServiceStatus) (control.Channel, error) {
	c, err := cluster.UnmarshalStoredChannel(s.Config)
	if err != nil {
		return control.Channel{}, err
	}
	where := s.Where
	if where == "" {
		where = c.Path + c.HostPort // one of the two
	}
	return control.Channel{
		Name: c.Name, Subcluster: string(s.Sub), KRef: string(s.KRef), Type: string(c.Type), Direction: string(c.Direction), Unit: string(c.Unit),
		Where: where, Client: s.Connected, Pending: int(s.Calls), Queued: int(s.Queued),
	}, nil
}

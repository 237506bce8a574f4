package vattest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"ocapkernel.dev/cluster"
	"ocapkernel.dev/host"
	"ocapkernel.dev/kernel"
)

// Vat configures a vat, as in a cluster's configuration.
type Vat struct {
	Name, Module string
	// Parameters is JSON, or empty.
	Parameters string
}

// Launch starts vats and calls bootstrap on the root of the vat that bootstrap names, as a launch of a cluster
// does. It runs until no work is left and returns the reason why the launch failed, if it did. A bootstrap that
// has not answered then is a failure, unless a vat waits for the test to answer a call of a [Service].
func (k *Kernel) Launch(bootstrap string, vats ...Vat) error {
	k.tb.Helper()
	cfg, err := configure(bootstrap, vats)
	if err != nil {
		return err
	}
	return k.launch(cfg)
}

// configure makes the configuration of a cluster.
func configure(bootstrap string, vats []Vat) (*cluster.Config, error) {
	var entries []string
	for _, v := range vats {
		entry := fmt.Sprintf(`%s: {"module": %s`, quote(v.Name), quote(v.Module))
		if v.Parameters != "" {
			entry += `, "parameters": ` + v.Parameters
		}
		entries = append(entries, entry+"}")
	}
	text := fmt.Sprintf(`{"bootstrap": %s, "vats": {%s}}`, quote(bootstrap), strings.Join(entries, ",\n"))
	cfg, err := cluster.Parse("launch", []byte(text))
	if err != nil {
		return nil, err
	}
	for i := range cfg.Vats {
		cfg.Vats[i].MaxRestarts = manyRestarts
	}
	return cfg, nil
}

func quote(s string) string {
	quoted, _ := json.Marshal(s) // of a string: cannot fail
	return string(quoted)
}

// manyRestarts is how many deaths in a row stop a vat that a test launches.
const manyRestarts = 1000

// LaunchFile launches the cluster of a configuration file, as [Kernel.Launch] does. The vats' modules come from
// the test's program, also where the file names a worker. The file's limits and policies hold, but no deadlines.
// The test plays the IO channels and services of the cluster; LaunchFile returns them by their names. The
// service timer follows the clock of the test.
func (k *Kernel) LaunchFile(path string) (map[string]*Service, error) {
	k.tb.Helper()
	cfg, err := cluster.Load(path)
	if err != nil {
		return nil, err
	}
	played := map[string]*Service{}
	for _, c := range cfg.IO {
		played[c.Name] = k.played.add(k, c.Name)
	}
	for i, s := range cfg.Services {
		if s.Service != timerKind {
			played[s.Name] = k.played.add(k, s.Name)
			cfg.Services[i].Service = kindPlayed
		}
	}
	return played, k.launch(cfg)
}

func (k *Kernel) launch(cfg *cluster.Config) error {
	k.tb.Helper()
	for i := range cfg.Vats {
		cfg.Vats[i].Limits.Delivery = forever
		if k.CollectAlways {
			cfg.Vats[i].ReapInterval = 1
		}
	}
	cfg.Services = append(cfg.Services, k.played.next...)
	k.played.next = nil
	failed := make(chan error, 1)
	go func() {
		_, err := k.shell.Launch(context.Background(), cfg)
		failed <- err
	}()
	select {
	case err := <-failed: // it was refused
		return k.alive(err)
	case <-k.workers.begun:
	}
	k.settle()
	k.launched = k.newest()
	k.list()
	k.Run()
	if k.isLaunching() {
		return k.unanswered(cfg.Bootstrap)
	}
	err := <-failed
	if launch := (*host.LaunchError)(nil); errors.As(err, &launch) {
		return errors.New(launch.Why)
	}
	return k.alive(err)
}

// newest returns the subcluster that was launched last, if it is there.
func (k *Kernel) newest() (id kernel.SubID) {
	k.tb.Helper()
	subs, err := k.view.Subclusters()
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, s := range subs {
		if len(s.ID) > len(id) || len(s.ID) == len(id) && s.ID > id { // s10 is after s9
			id = s.ID
		}
	}
	return id
}

// list notes the vats of the last launch.
func (k *Kernel) list() {
	k.tb.Helper()
	sub, _, err := k.view.Subcluster(k.launched)
	if err != nil {
		k.tb.Fatal(err)
	}
	for _, m := range sub.Vats {
		k.names[m.Name], k.roots[m.Name] = m.Vat, k.vat(m.Vat).Root
	}
}

// isLaunching reports whether the last launch is not over.
func (k *Kernel) isLaunching() bool {
	k.tb.Helper()
	sub, found, err := k.view.Subcluster(k.launched)
	if err != nil {
		k.tb.Fatal(err)
	}
	return found && sub.State == kernel.SubLaunching
}

// unanswered returns the reason why a launch is not over although no work is left.
func (k *Kernel) unanswered(bootstrap string) error {
	k.tb.Helper()
	if k.played.asked() || k.clock.isSet() {
		return nil
	}
	return fmt.Errorf("bootstrap of %s never answers: nothing is left to do, and %d turns of it wait in memory", bootstrap, k.Parked(bootstrap))
}

// Bootstrapped returns the answer of the last launch's bootstrap method, as JSON.
func (k *Kernel) Bootstrapped() (string, error) {
	k.tb.Helper()
	sub, found, err := k.view.Subcluster(k.launched)
	if err != nil {
		return "", err
	}
	if !found {
		return "", errors.New("the launch failed, or its subcluster is terminated")
	}
	_, text, err := toJSON(sub.Result)
	return text, err
}

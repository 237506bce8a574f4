package vattest

import (
	"ocapkernel.dev/cluster"
)

// LaunchFile launches the cluster of a configuration file, as [Kernel.Launch] does, with the vats' modules taken from
// the test's program whatever worker the file names. Its IO channels and services are played by the test, and are
// returned by their names; the service timer follows the clock of the test.
func (k *Kernel) LaunchFile(path string) (map[string]*Service, error) {
	k.tb.Helper()
	cfg, err := cluster.Load(path)
	if err != nil {
		return nil, err
	}
	played := map[string]*Service{}
	for _, c := range cfg.IO {
		played[c.Name] = k.Service(c.Name)
	}
	for _, s := range cfg.Services {
		if s.Name == "timer" {
			k.Timer(s.Name)
		} else {
			played[s.Name] = k.Service(s.Name)
		}
	}
	var vats []Vat
	for _, v := range cfg.Vats {
		vats = append(vats, Vat{Name: v.Name, Module: v.Module, Parameters: string(v.Parameters)})
	}
	return played, k.Launch(cfg.Bootstrap, vats...)
}

package vattest

import (
	"ocapkernel.dev/cluster"
)

// LaunchFile launches the cluster of a configuration file, as [Kernel.Launch] does. The vats' modules come from
// the test's program, also where the file names a worker. The test plays the IO channels and services of the
// cluster; LaunchFile returns them by their names. The service timer follows the clock of the test.
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

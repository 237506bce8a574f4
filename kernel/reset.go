package kernel

// Reset begins another epoch, gives up what was to be launched again, and notes that the state is being cleared.
// Whoever runs the machine then terminates all subclusters, launches none, and calls ResetDone when they are gone;
// the next kernel goes on with it if this one dies. Numbers are not used twice: no name that somebody has kept
// comes to mean something else.
func (m *Machine) Reset(epoch string) (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	m.epoch = epoch
	t.set(keyEpoch, []byte(epoch))
	t.set(keyReset, []byte{})
	for _, s := range t.reloads() {
		t.dropReload(s, "the state was cleared")
	}
	return t.done(), nil
}

// Resetting says whether the state is being cleared.
func (m *Machine) Resetting() (resetting bool, err error) {
	defer caught(&err)
	_, resetting = m.begin(0).get(keyReset)
	return resetting, nil
}

// ResetDone ends what Reset has begun.
func (m *Machine) ResetDone() (c Commit, err error) {
	defer caught(&err)
	t := m.begin(0)
	t.delete(keyReset)
	return t.done(), nil
}

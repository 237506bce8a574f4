//go:build !faults

package fault

// Point does nothing in a program that is built without the tag faults.
func Point(Name) {}

// Torn does nothing in a program that is built without the tag faults.
func Torn(Name, []byte, func([]byte) (int, error)) {}

// Env returns the variables by which a process that is started has the same faults: none.
func Env() []string { return nil }

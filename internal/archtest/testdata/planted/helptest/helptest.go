// Package helptest helps tests, and links what it must not.
package helptest

import (
	"time"

	"planted.example/machine"
)

// Wait waits the wrong way.
func Wait() {
	_ = machine.Run
	time.Sleep(1) // want "a test does not sleep"
}

package boxes // want "a test is of package boxes_test"

import (
	clock "time"
)

var _ = clock.Sleep // want "a test does not sleep"

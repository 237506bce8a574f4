package boxes

import "time"

var _ = time.Second

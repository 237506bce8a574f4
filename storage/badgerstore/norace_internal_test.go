//go:build !race

package badgerstore

// raceDetector says that the tests run under the race detector.
const raceDetector = false

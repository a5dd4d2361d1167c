//go:build race

package malformed

// raceDetector says that this binary looks for data races.
const raceDetector = true

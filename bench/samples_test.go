package bench

import (
	"time"

	"hoplab.dev/bench/load"
)

// sampleOf was answered after so many microseconds.
func sampleOf(micros int) load.Sample {
	return load.Sample{Took: time.Duration(micros) * time.Microsecond, Status: 200}
}

// failedSample must not count.
var failedSample = load.Sample{Took: time.Hour, Why: "cut"}

package bench

import (
	"time"

	"hoplab.dev/bench/stats"
)

// Schema names the JSON form of Report.
const Schema = "hoplab.dev/bench/v1"

// Report is what a run has measured. Times are microseconds.
type Report struct {
	Schema   string    `json:"schema"`
	Scenario string    `json:"scenario"`
	URL      string    `json:"url"`
	At       time.Time `json:"at"`
	// Partial: it was interrupted, and is made of what was measured until then.
	Partial bool    `json:"partial,omitempty"`
	Machine Machine `json:"machine"`

	Repetitions int     `json:"repetitions"` // of each cell, in random order, unless Partial
	Warmup      float64 `json:"warmup"`      // before each, dropped
	Duration    float64 `json:"duration"`    // of each

	Way       []WayHop   `json:"way"` // of the scenario's request
	Cells     []Cell     `json:"cells"`
	Ablations []Ablation `json:"ablations,omitempty"`
	Overheads []Overhead `json:"overheads,omitempty"`
	Fits      []Fit      `json:"fits,omitempty"`
	Peers     []Ratio    `json:"peers,omitempty"`
	Notes     []string   `json:"notes"` // what must be known to read the figures
}

// WayHop is one hop of the scenario's way, as it is.
type WayHop struct {
	From string  `json:"from"`
	To   string  `json:"to"`
	TLS  *WayTLS `json:"tls,omitempty"` // nil: none begins here
	// Relays are the nodes that carry the bytes on unread.
	Relays []string `json:"relays,omitempty"`
}

// WayTLS is a session of the way.
type WayTLS struct {
	Session   int    `json:"session"` // its number, from 1
	Version   string `json:"version"`
	Group     string `json:"group"`
	Key       string `json:"key"`                 // of the accepting side's certificate
	ClientKey string `json:"clientKey,omitempty"` // of the dialling side's; absent: it presents none
}

// Cell is what one variant came to.
type Cell struct {
	Name string `json:"name"`
	Variant
	Loop        string         `json:"loop"`            // closed or open; an open one's latencies count from the intended start
	Blank       string         `json:"blank,omitempty"` // why it could not be measured
	Requests    int            `json:"requests"`
	Failed      int            `json:"failed"` // requests without an answer, or with a server's error
	PerSecond   stats.Estimate `json:"perSecond"`
	Latency     Latency        `json:"latency"`
	CPU         []NodeUse      `json:"cpu,omitempty"` // absent where the system does not account for it
	CPUNodes    stats.Estimate `json:"cpuNodes"`      // per request, of the nodes between client and app
	CPUMachine  stats.Estimate `json:"cpuMachine"`    // per request, of the whole machine, whoever used it
	Bill        *Bill          `json:"bill,omitempty"`
	repetitions []repetition
	nodesCPU    []float64 // of each
}

// Latency is of all requests of all repetitions, by an HDR histogram of three
// significant figures.
type Latency struct {
	Mean   float64      `json:"mean"`
	P50    float64      `json:"p50"`
	P90    float64      `json:"p90"`
	P99    float64      `json:"p99"`
	P999   float64      `json:"p999"`
	Max    float64      `json:"max"`
	Median [2]float64   `json:"medianInterval"`  // of the median, 95 %
	Curve  [][2]float64 `json:"curve,omitempty"` // percentile, latency
}

// NodeUse is what a process used for one request.
type NodeUse struct {
	Node      string         `json:"node"`
	CPU       stats.Estimate `json:"cpu"`       // by the kernel's account
	Allocated stats.Estimate `json:"allocated"` // bytes of heap; 0 of other programs
}

// Ablation is what one TLS session costs, told in two ways that know nothing of
// each other.
type Ablation struct {
	Of      string `json:"of"`      // the cell's name that has all sessions
	Session int    `json:"session"` // its number on the way, from 1
	From    string `json:"from"`
	To      string `json:"to"`
	// InPath is what the timers in the path tell: handshake and finish.
	InPath stats.Estimate `json:"inPath"`
	// Difference is by how much the whole request is slower than with this
	// session in plaintext.
	Difference stats.Estimate `json:"difference"`
	CPU        stats.Estimate `json:"cpu"` // the difference of all nodes' CPU, with client and app
	Agree      bool           `json:"agree"`
	Why        string         `json:"why,omitempty"` // they do not
}

// Overhead is what recording and counting costs the nodes.
type Overhead struct {
	Of      string         `json:"of"`      // the variant
	With    stats.Estimate `json:"with"`    // CPU per request of the nodes
	Without stats.Estimate `json:"without"` // likewise
	Percent stats.Estimate `json:"percent"` // by which With is more
}

// Fit is the cost of a chain as a line over the number of its TLS hops.
type Fit struct {
	Of     string     `json:"of"` // the variant
	Points []FitPoint `json:"points"`
	Micros stats.Line `json:"micros"` // of the whole request
	CPU    stats.Line `json:"cpu"`    // of all nodes, with client and app
	// Predicted is what the line says of the scenario, by the number of its TLS
	// hops, and Residual by how much more was measured.
	Predicted float64 `json:"predicted"`
	Measured  float64 `json:"measured"` // see Predicted
	Residual  float64 `json:"residual"` // see Predicted
}

// FitPoint is one length.
type FitPoint struct {
	Length int            `json:"length"`
	Micros stats.Estimate `json:"micros"`
	CPU    stats.Estimate `json:"cpu"`
}

// Ratio compares hoplab's nodes with another program in their place. Below 1
// hoplab is better.
type Ratio struct {
	Peer    string         `json:"peer"`
	Version string         `json:"version,omitempty"`
	Of      string         `json:"of"`              // the variant
	Blank   string         `json:"blank,omitempty"` // why there is no figure
	Ours    stats.Estimate `json:"ours"`            // CPU per request of the nodes between client and app
	Theirs  stats.Estimate `json:"theirs"`          // likewise
	CPU     stats.Estimate `json:"cpu"`             // Ours / Theirs
	Latency stats.Estimate `json:"latency"`         // of the medians
}

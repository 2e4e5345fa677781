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
	Scenario string    `json:"scenario"`        // its name
	URL      string    `json:"url"`             // what was asked
	Check    string    `json:"check,omitempty"` // the scenario's check that asks it so; absent: none does
	At       time.Time `json:"at"`              // its beginning
	// Partial: it was interrupted, and is made of what was measured until then.
	Partial bool    `json:"partial,omitempty"`
	Machine Machine `json:"machine"` // that measured

	Repetitions int     `json:"repetitions"` // of each cell, in random order, unless Partial
	Warmup      float64 `json:"warmup"`      // before each, dropped
	Duration    float64 `json:"duration"`    // of each

	Way       []WayHop   `json:"way"`                 // of the scenario's request
	Cells     []Cell     `json:"cells"`               // what was measured, each variant
	Ablations []Ablation `json:"ablations,omitempty"` // of each TLS session, per cell that was measured without it too
	NodesOff  []NodeOff  `json:"nodesOff,omitempty"`  // of each node between, per cell that was measured without it too
	Overheads []Overhead `json:"overheads,omitempty"` // of recording, per cell that was measured without it too
	Fits      []Fit      `json:"fits,omitempty"`      // of chains, where there are two lengths at least
	Peers     []Ratio    `json:"peers,omitempty"`     // of hoplab and other programs
	Notes     []string   `json:"notes"`               // what must be known to read the figures
}

// WayHop is one hop of the scenario's way, as it is.
type WayHop struct {
	From string  `json:"from"`          // the node that dials
	To   string  `json:"to"`            // the node that accepts
	TLS  *WayTLS `json:"tls,omitempty"` // nil: none begins here
	// Relays are the nodes that carry the bytes on unread.
	Relays []WayRelay `json:"relays,omitempty"`
}

// WayRelay is a node between that carries bytes on.
type WayRelay struct {
	Node string  `json:"node"`          // its name in the plan
	TLS  *WayTLS `json:"tls,omitempty"` // that it begins itself, around what it carries; nil: none
}

// WayTLS is a session of the way.
type WayTLS struct {
	Session   int    `json:"session"`             // its number, from 1
	Version   string `json:"version"`             // TLS 1.2 or TLS 1.3
	Group     string `json:"group"`               // of the key exchange; empty: a session of TLS 1.2 was resumed
	Key       string `json:"key"`                 // of the accepting side's certificate
	ClientKey string `json:"clientKey,omitempty"` // of the dialling side's; absent: it presents none
}

// Cell is what one variant came to.
type Cell struct {
	Name string `json:"name"` // the variant in words, as other parts of the report name it
	Variant
	Loop        string         `json:"loop"`            // closed or open; an open one's latencies count from the intended start
	Blank       string         `json:"blank,omitempty"` // why it could not be measured
	Requests    int            `json:"requests"`        // of all repetitions
	Failed      int            `json:"failed"`          // requests without an answer, or with a server's error
	PerSecond   stats.Estimate `json:"perSecond"`       // answers
	Latency     Latency        `json:"latency"`         // of whole requests
	CPU         []NodeUse      `json:"cpu,omitempty"`   // absent where the system does not account for it
	CPUNodes    stats.Estimate `json:"cpuNodes"`        // per request, of the nodes between client and app
	CPUMachine  stats.Estimate `json:"cpuMachine"`      // per request, of the whole machine, whoever used it
	Bill        *Bill          `json:"bill,omitempty"`  // where the time went; absent where no phases were measured
	repetitions []repetition
	nodesCPU    []float64 // of each
}

// Latency is of all requests of all repetitions, by an HDR histogram of three
// significant figures.
type Latency struct {
	Mean   float64      `json:"mean"`                     // arithmetic
	P50    float64      `json:"p50"`                      // the median
	P90    float64      `json:"p90"`                      // a percentile
	P99    float64      `json:"p99"`                      // a percentile
	P999   float64      `json:"p999"`                     // the percentile 99.9
	Max    float64      `json:"max"`                      // the slowest one
	Median *[2]float64  `json:"medianInterval,omitempty"` // of the median, 95 %; absent: there are fewer than five repetitions
	Curve  [][2]float64 `json:"curve,omitempty"`          // percentile, latency
}

// NodeUse is what a process used for one request.
type NodeUse struct {
	Node      string         `json:"node"`      // its name in the plan; PROGRAM/NAME of another program
	CPU       stats.Estimate `json:"cpu"`       // by the kernel's account
	Allocated stats.Estimate `json:"allocated"` // bytes of heap; 0 of other programs
}

// Ablation is what one TLS session costs, told in two ways that know nothing of
// each other.
type Ablation struct {
	Of      string `json:"of"`      // the cell's name that has all sessions
	Session int    `json:"session"` // its number on the way, from 1
	From    string `json:"from"`    // the node that dials
	To      string `json:"to"`      // the node that accepts
	// InPath is what the timers in the path tell: handshake and finish.
	InPath stats.Estimate `json:"inPath"`
	// Difference is by how much the whole request is slower than with this
	// session in plaintext.
	Difference stats.Estimate `json:"difference"`
	CPU        stats.Estimate `json:"cpu"`           // the difference of all nodes' CPU, with client and app
	Agree      bool           `json:"agree"`         // their intervals overlap
	Why        string         `json:"why,omitempty"` // they do not
}

// Overhead is what recording and counting costs the nodes, as it is where all are
// one process: passports and metrics. Access log lines are written either way;
// nodes that are processes need about 3 µs more for each end that they tell of.
type Overhead struct {
	Of      string         `json:"of"`      // the variant
	With    stats.Estimate `json:"with"`    // CPU per request of the nodes
	Without stats.Estimate `json:"without"` // likewise
	Percent stats.Estimate `json:"percent"` // by which With is more
}

// Fit is the cost of a chain as a line over the number of its TLS hops.
type Fit struct {
	Of     string     `json:"of"`     // the variant
	Points []FitPoint `json:"points"` // one for each length
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
	Length int            `json:"length"` // in TLS hops
	Micros stats.Estimate `json:"micros"` // of the whole request
	CPU    stats.Estimate `json:"cpu"`    // per request, of all nodes, with client and app
}

// Ratio compares hoplab's nodes with another program in their place. Below 1
// hoplab is better.
type Ratio struct {
	Peer    string `json:"peer"`              // the program
	Version string `json:"version,omitempty"` // as it says of itself, with its TLS library

	Of      string         `json:"of"`              // the variant
	Blank   string         `json:"blank,omitempty"` // why there is no figure
	Ours    stats.Estimate `json:"ours"`            // CPU per request of the nodes between client and app
	Theirs  stats.Estimate `json:"theirs"`          // likewise
	CPU     stats.Estimate `json:"cpu"`             // Ours / Theirs
	Latency stats.Estimate `json:"latency"`         // of the medians
}

package bench

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"hoplab.dev/bench/stats"
	"hoplab.dev/passport"
)

// Bill says where the time of a request went. All figures are microseconds:
// means over the middle half of the requests by their totals, so that outliers
// do not count and the parts still add up.
type Bill struct {
	Requests int            `json:"requests"` // that were taken apart
	Median   stats.Estimate `json:"median"`   // of the totals
	Total    stats.Estimate `json:"total"`    // from the client's beginning until it has the answer whole
	Hops     []BillHop      `json:"hops"`     // in the order of the way
	// Unaccounted is the part of Total that no part of a hop has.
	Unaccounted        stats.Estimate `json:"unaccounted"`
	UnaccountedPercent float64        `json:"unaccountedPercent"` // of Median
}

// BillHop is what one hop cost.
type BillHop struct {
	From      string           `json:"from"`                // dialling
	To        string           `json:"to"`                  // accepting
	Relays    []string         `json:"relays,omitempty"`    // nodes between, that carry the bytes on unread
	Parts     []Part           `json:"parts"`               // in the order of the way
	Sum       stats.Estimate   `json:"sum"`                 // of the parts
	Handshake *HandshakeDetail `json:"handshake,omitempty"` // nil: there was none
}

// TLS is the part of the hop's time that its handshake takes.
func (h *BillHop) TLS() float64 {
	sum := 0.0
	for _, p := range h.Parts {
		if p.Name == partHandshake || p.Name == partFinish {
			sum += p.Micros.Value
		}
	}
	return sum
}

// Part is one part of a hop, as it was on the request's way.
type Part struct {
	Side   string         `json:"side"`   // dialling, accepting or, of a node between, relaying: whose time it is
	Name   string         `json:"name"`   // handshake, route and the like
	Micros stats.Estimate `json:"micros"` // per request
}

// HandshakeDetail is what was seen of a hop's TLS handshakes from outside of
// crypto/tls. What is within the handshake is not a further part of the bill.
type HandshakeDetail struct {
	Version string `json:"version"`             // "TLS 1.3"
	Group   string `json:"group,omitempty"`     // of the key exchange
	Key     string `json:"key,omitempty"`       // of the accepting side's certificate
	Client  string `json:"clientKey,omitempty"` // of the dialling side's, where it presents one
	// Dialling and Accepting are the sides.
	Dialling  HandshakeSide `json:"dialling"`
	Accepting HandshakeSide `json:"accepting"` // see Dialling
	Flights   []FlightTime  `json:"flights"`   // as the dialling side saw them
}

// HandshakeSide is one side's share, in microseconds.
type HandshakeSide struct {
	Signing   stats.Estimate `json:"signing"`   // with its private key; 0: it did not
	Checking  stats.Estimate `json:"checking"`  // of the other's certificate
	BytesSent stats.Estimate `json:"bytesSent"` // of the handshake
}

// FlightTime is when a flight was over, in microseconds from the ClientHello.
type FlightTime struct {
	From   string         `json:"from"`   // dialling or accepting
	Micros stats.Estimate `json:"micros"` // when its last byte was sent or received
	Bytes  float64        `json:"bytes"`  // with the headers of its records
}

// shape tells requests apart that went different ways.
func (j *journey) shape() string {
	var b strings.Builder
	for _, h := range j.hops() {
		fmt.Fprintf(&b, "%s>%s %v %d;", h.dialled.Node, h.accepted.Node, h.isNew(), len(h.next))
	}
	return b.String()
}

// column is one figure of a bill.
type column struct {
	hop        int
	side, part string
}

// makeBill takes apart the requests of all repetitions. Of several shapes the
// most frequent counts. Nil: there is nothing to take apart.
func makeBill(repetitions [][]*journey) *Bill {
	shapes := map[string]int{}
	var common string
	for _, r := range repetitions {
		for _, j := range r {
			s := j.shape()
			if shapes[s]++; shapes[s] > shapes[common] {
				common = s
			}
		}
	}
	var first *journey
	index := map[column]int{}
	var columns []column
	type row struct {
		total  float64
		values []float64
	}
	at := func(c column) int {
		i, known := index[c]
		if !known {
			i = len(columns)
			index[c], columns = i, append(columns, c)
		}
		return i
	}
	var rows [][]row // by repetition
	count := 0
	for _, r := range repetitions {
		var mine []row
		for _, j := range r {
			if j.shape() != common {
				continue
			}
			if first == nil {
				first = j
			}
			one := row{total: micros(j.total())}
			add := func(c column, v float64) {
				i := at(c)
				for len(one.values) <= i {
					one.values = append(one.values, 0)
				}
				one.values[i] += v
			}
			for _, s := range j.spans() {
				add(column{s.hop, s.side, s.part}, micros(s.to.Sub(s.from)))
			}
			for i, h := range j.hops() {
				h.detail(i, add)
			}
			mine = append(mine, one)
			count++
		}
		if len(mine) > 0 {
			rows = append(rows, mine)
		}
	}
	if count == 0 {
		return nil
	}
	hops := first.hops()
	// Figures: the columns, then the hops' sums, the total, the median, unaccounted.
	n := len(columns)
	figures := stats.Bootstrap(len(rows), func(drawn []int) []float64 {
		out := make([]float64, n+len(hops)+3)
		var totals []float64
		var pooled []*row
		for _, i := range drawn {
			for k := range rows[i] {
				pooled = append(pooled, &rows[i][k])
				totals = append(totals, rows[i][k].total)
			}
		}
		middle := stats.Middle(totals)
		sum := 0.0
		for _, i := range middle {
			sum += pooled[i].total
			for k, v := range pooled[i].values {
				out[k] += v
			}
		}
		for k := range n {
			out[k] /= float64(len(middle))
		}
		total := sum / float64(len(middle))
		rest := total
		for k, c := range columns {
			if c.isPart() {
				out[n+c.hop] += out[k]
				rest -= out[k]
			}
		}
		out[n+len(hops)], out[n+len(hops)+1], out[n+len(hops)+2] = total, stats.Median(totals), rest
		return out
	})
	b := &Bill{Requests: count, Total: figures[n+len(hops)], Median: figures[n+len(hops)+1], Unaccounted: figures[n+len(hops)+2]}
	b.UnaccountedPercent = 100 * b.Unaccounted.Value / b.Median.Value
	get := func(c column) stats.Estimate {
		if i, ok := index[c]; ok {
			return figures[i]
		}
		return stats.Estimate{}
	}
	for i, h := range hops {
		out := BillHop{From: h.dialled.Node, To: h.accepted.Node, Sum: figures[n+i], Parts: []Part{}}
		out.Relays = h.relays()
		for _, p := range parts {
			if k, ok := index[column{i, p.side, p.name}]; ok {
				out.Parts = append(out.Parts, Part{p.side, p.name, figures[k]})
			}
		}
		if h.isNew() && h.dialledConn().TLS != nil && h.dialledConn().Phases != nil {
			out.Handshake = h.handshakeDetail(i, get)
		}
		b.Hops = append(b.Hops, out)
	}
	return b
}

// parts are all there may be, in the order of a request's way.
var parts = []struct{ side, name string }{
	{dialling, partPrepare}, {dialling, partConnect}, {dialling, partHandshake}, {dialling, partSend}, {accepting, partFinish},
	{relaying, partConnect}, {relaying, partHandshake}, {relaying, partFinish}, {accepting, partAccept}, {dialling, partThere}, {accepting, partParse}, {accepting, partRoute}, {accepting, partApp}, {accepting, partBetween},
	{accepting, partAnswer}, {dialling, partBack}, {dialling, partReadHead}, {dialling, partReadBody},
}

// Figures of handshakes; they are within parts, and none themselves.
const (
	figureSigning  = "#signing"
	figureChecking = "#checking"
	figureBytes    = "#bytes"
	figureFlight   = "#flight"
)

func (c column) isPart() bool { return c.part[0] != '#' }

// detail adds what was seen of a hop's handshake.
func (j *journey) detail(hop int, add func(column, float64)) {
	if !j.isNew() {
		return
	}
	for _, side := range []struct {
		name string
		conn *passport.ConnEnd
	}{{dialling, j.dialledConn()}, {accepting, j.terminating()}} {
		p := side.conn.Phases
		if p == nil {
			continue
		}
		add(column{hop, side.name, figureSigning}, micros(p.Signing))
		add(column{hop, side.name, figureChecking}, micros(p.Checking))
		for i, f := range p.Flights {
			if f.Sent {
				add(column{hop, side.name, figureBytes}, float64(f.Bytes))
			}
			if side.name == dialling {
				add(column{hop, side.name, fmt.Sprint(figureFlight, i)}, micros(f.Last))
			}
		}
	}
}

func (j *journey) handshakeDetail(hop int, get func(column) stats.Estimate) *HandshakeDetail {
	t := j.dialledConn().TLS
	d := &HandshakeDetail{Version: t.Version, Group: t.Group, Flights: []FlightTime{}}
	if t.Peer != nil {
		d.Key = t.Peer.Key
	}
	if t := j.terminating().TLS; t != nil && t.Peer != nil {
		d.Client = t.Peer.Key
	}
	side := func(name string) HandshakeSide {
		return HandshakeSide{get(column{hop, name, figureSigning}), get(column{hop, name, figureChecking}), get(column{hop, name, figureBytes})}
	}
	d.Dialling, d.Accepting = side(dialling), side(accepting)
	if j.terminating().Phases == nil { // what it sent was received here
		for _, f := range j.dialledConn().Phases.Flights {
			if !f.Sent {
				d.Accepting.BytesSent.Value += float64(f.Bytes)
			}
		}
	}
	for i, f := range j.dialledConn().Phases.Flights {
		from := accepting
		if f.Sent {
			from = dialling
		}
		d.Flights = append(d.Flights, FlightTime{from, get(column{hop, dialling, fmt.Sprint(figureFlight, i)}), float64(f.Bytes)})
	}
	return d
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// chainChosen is the filter chain that a node chose; "": none.
func chainChosen(chose []passport.Choice) string {
	i := slices.IndexFunc(chose, func(c passport.Choice) bool { return c.What == "filter chain" })
	if i < 0 {
		return ""
	}
	return chose[i].Name
}

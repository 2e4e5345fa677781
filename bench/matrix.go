package bench

import (
	"slices"
	"time"
)

// Matrix is what is varied: the variants are all combinations. Of an empty list
// the scenario says what it is.
type Matrix struct {
	Handshakes    []string // Full, Resumed
	Connections   []string // New, NewAtClient, Reuse
	TLS           []string
	Keys          []string
	Groups        []string
	Auth          []string
	ResponseBytes []int
	RTT           []time.Duration
	Concurrency   []int     // of closed loops
	Rates         []float64 // of open loops, beside the closed ones
	Jitter        time.Duration

	Nodes    []string // Relayed, Removed: each node between so, too
	Ablation bool     // each TLS session of the way in plaintext too, with new connections
	Baseline bool     // the client asks the app, too
	Overhead bool     // with and without recording, too
	Chain    []int    // lengths of chains of gateways, too
	Peers    []string // programs that take the place of hoplab's nodes, too
}

// orNone has a list that says nothing be one whose element says nothing.
func orNone[T any](list []T) []T {
	if len(list) == 0 {
		return make([]T, 1)
	}
	return list
}

// loads are how requests are sent.
func (m *Matrix) loads() []Variant {
	var out []Variant
	for _, n := range m.Concurrency {
		out = append(out, Variant{Concurrency: n, Jitter: m.Jitter})
	}
	for _, rate := range m.Rates {
		out = append(out, Variant{Rate: rate, Jitter: m.Jitter})
	}
	return out
}

// variants are all that is to be measured on a way.
func (m *Matrix) variants(w *way) []Variant {
	var out []Variant
	seen := map[string]bool{}
	add := func(v Variant) {
		if name := v.Name(); !seen[name] {
			seen[name] = true
			out = append(out, v)
		}
	}
	for _, v := range m.loads() {
		for _, v.ResponseBytes = range orNone(m.ResponseBytes) {
			for _, v.RTT = range orNone(m.RTT) {
				if m.Baseline && !w.ends {
					m.addBaselines(add, v)
				}
				for _, v.TLS = range orNone(m.TLS) {
					for _, v.Key = range orNone(m.Keys) {
						for _, v.Group = range orNone(m.Groups) {
							for _, v.Auth = range orNone(m.Auth) {
								m.addTo(add, v, w)
							}
						}
					}
				}
			}
		}
	}
	return out
}

func (m *Matrix) addBaselines(add func(Variant), v Variant) {
	v.Baseline = true
	for _, v.Connections = range []string{New, Reuse} {
		if v.Connections == New && slices.ContainsFunc(m.Connections, func(c string) bool { return c != Reuse }) || slices.Contains(m.Connections, v.Connections) {
			add(v)
		}
	}
}

// addTo adds the variants of one combination of parameters.
func (m *Matrix) addTo(add func(Variant), v Variant, w *way) {
	for _, v.Connections = range m.Connections {
		handshakes := m.Handshakes
		if v.Connections == Reuse || len(w.sessions) == 0 {
			handshakes = []string{""}
		}
		for _, v.Handshake = range handshakes {
			add(v)
			if m.Overhead && v.Handshake != Resumed && v.Connections != NewAtClient {
				quiet, observed := v, v
				quiet.Quiet, observed.Observed = true, true
				add(quiet)
				add(observed)
			}
			for _, name := range m.Peers {
				same, peer := v, v
				same.Key = v.keyOr(defaultKey)
				peer.Key, peer.Peer = same.Key, name
				add(same)
				add(peer)
			}
			for _, off := range m.Nodes {
				for i := range w.legs[:len(w.legs)-1] {
					add(w.nodeOff(v, i+1, off))
				}
			}
			if v.Connections != New {
				continue
			}
			if m.Ablation {
				for i := range w.sessions {
					off := v
					off.Plaintext = i + 1
					add(off)
				}
			}
			for _, length := range m.Chain {
				same := v // as what the line says of the scenario
				same.Key = v.keyOr(defaultKey)
				add(same)
				chain := same
				chain.Chain = &length
				if length == 0 {
					chain = Variant{Chain: &length, Connections: v.Connections, ResponseBytes: v.ResponseBytes, RTT: v.RTT, Rate: v.Rate, Concurrency: v.Concurrency, Jitter: v.Jitter}
				}
				add(chain)
			}
		}
	}
}

// algorithms are those of the keys that the benchmark's own certificates have,
// by ACM's names.
func (m *Matrix) algorithms() []string {
	var out []string
	for _, k := range m.Keys {
		if a := keys[k]; a != "" {
			out = append(out, a)
		}
	}
	if len(m.Keys) == 0 && (len(m.Auth) > 0 || len(m.Peers) > 0 || len(m.Chain) > 0) {
		out = append(out, keys[defaultKey])
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (m *Matrix) longestChain() int { return slices.Max(m.Chain) }

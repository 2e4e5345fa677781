package proxy

import (
	"math/rand/v2"
	"sync"
)

// balancer is the state of a cluster's choice among its endpoints.
type balancer struct {
	mu     sync.Mutex
	next   int                   // of the round robin
	credit map[*endpoint]float64 // of endpoints whose weights differ
}

// balance chooses among endpoints, of which there is one at least.
// Envoy: source/extensions/load_balancing_policies
func (c *cluster) balance(from []*endpoint) *endpoint {
	policy := c.plan.Balancing
	if policy == "" {
		policy = "ROUND_ROBIN" // an ALB's default
		if c.node.personality().leastRequests() {
			policy = "LEAST_REQUEST" // Istio's
		}
	}
	if policy == "RANDOM" { // whatever the weights are
		return from[rand.IntN(len(from))]
	}
	b := &c.balancer
	b.mu.Lock()
	defer b.mu.Unlock()
	if !sameWeights(from) {
		return b.byWeight(from, policy == "LEAST_REQUEST")
	}
	first, second := from[b.next%len(from)], from[(b.next+1)%len(from)]
	b.next = (b.next + 1) % len(from)
	if policy == "LEAST_REQUEST" && second.active.Load() < first.active.Load() {
		return second // the better of two (choice_count 2)
	}
	return first
}

func sameWeights(from []*endpoint) bool {
	for _, e := range from {
		if e.weight() != from[0].weight() {
			return false
		}
	}
	return true
}

func (e *endpoint) weight() int { return max(1, e.plan.Weight) }

// byWeight gives to each as often as its weight says, evenly over time. By
// least requests a weight counts the less the more an endpoint has to do
// (active_request_bias 1). Envoy has a schedule of deadlines for it.
func (b *balancer) byWeight(from []*endpoint, leastRequests bool) *endpoint {
	if b.credit == nil {
		b.credit = map[*endpoint]float64{}
	}
	sum := 0.0
	var best *endpoint
	for _, e := range from {
		weight := float64(e.weight())
		if leastRequests {
			weight /= float64(e.active.Load() + 1)
		}
		sum += weight
		b.credit[e] += weight
		if best == nil || b.credit[e] > b.credit[best] {
			best = e
		}
	}
	b.credit[best] -= sum
	return best
}

package proxy

import (
	"context"
	"slices"
	"time"

	"hoplab.dev/plan"
)

// wouldRetry tells whether a policy is for another try: after a failure, or
// after a response that it does not like.
// Envoy: source/common/router/retry_state_impl.cc wouldRetryFromReset, wouldRetryFromHeaders
func wouldRetry(policy *plan.Retry, res *response, f *failure) bool {
	switch {
	case policy == nil:
		return false
	case f != nil:
		return overlap(policy.On, f.retry)
	}
	on := func(word string) bool { return slices.Contains(policy.On, word) }
	if res.header["X-Envoy-Ratelimited"] != nil {
		return on("envoy-ratelimited")
	}
	if res.status >= 500 && on("5xx") ||
		res.status >= 502 && res.status <= 504 && on("gateway-error") ||
		res.status == 409 && on("retriable-4xx") ||
		slices.Contains(policy.Statuses, res.status) && on("retriable-status-codes") {
		return true
	}
	word := grpcRetries[res.header.Get("Grpc-Status")] // that came with the head
	return word != "" && on(word)
}

// grpcRetries are the retry_on words of gRPC statuses.
var grpcRetries = map[string]string{
	"1": "cancelled", "4": "deadline-exceeded", "8": "resource-exhausted", "13": "internal", "14": "unavailable",
}

// defaultBackOff is the router's base interval (upstream.base_retry_backoff_ms).
const defaultBackOff = 25 * time.Millisecond

// backOff is the wait before another try. Envoy's is a random time up to the
// base interval, doubled with each try up to ten times it; the middle of that
// range, so that runs are alike.
// Envoy: source/common/common/backoff_strategy.cc JitteredExponentialBackOffStrategy
func backOff(policy *plan.Retry, attempt int) time.Duration {
	base := policy.BackOff
	if base == 0 {
		base = defaultBackOff
	}
	return min(base<<min(attempt-1, 10), 10*base) / 2
}

// sleep waits; false: ctx ended before.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

package testbed

import (
	"context"

	"hoplab.dev/testbed/apps"
)

// dialFrom opens a connection as the app in a pod does that asks for a Service.
func (t *Testbed) dialFrom(ctx context.Context, pod, host string, port int) (apps.Upstream, error) {
	q := &question{}
	if err := t.fromPod(q, t.Plan(), pod, "http", host, port); err != nil {
		return apps.Upstream{}, err
	}
	c, err := t.addresses.dial(ctx, pod, q.request.To)
	return apps.Upstream{Conn: c, Peer: q.request.Peer, Pod: q.request.To.Private}, err
}

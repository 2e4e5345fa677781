// Package apps holds the workloads that stand in for container images.
//
// An app is an HTTP server on the sockets that testbed bound for its pod. It
// terminates no TLS, calls nothing and knows nothing of the proxies in front;
// like every node it gives out its own ends of connections and requests.
package apps

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// app is one built-in workload.
type app struct {
	// handler is nil for an app that listens on nothing.
	handler func(plan.App) http.Handler
	// h2c: HTTP/2 with prior knowledge is spoken besides HTTP/1.1, as a port
	// that is named grpc or http2 expects.
	h2c bool
	// idle is how long a kept-alive connection may wait for its next request.
	idle time.Duration
}

// builtin are the apps by the names that plan.App.Name takes.
var builtin = map[string]app{
	"echo":    {handler: newEcho, h2c: true, idle: patient},
	"httpbin": {handler: newHTTPBin, h2c: true, idle: patient},
	"nginx":   {handler: newNginx, idle: nginxKeepalive},
	"sleep":   {},
}

// Names are the built-in apps, sorted.
func Names() []string { return slices.Sorted(maps.Keys(builtin)) }

// Listener is a bound socket on which an app serves.
type Listener struct {
	net.Listener
	// Port is the container's port in the cluster; the socket may have another.
	Port int
	// Original is the host:port by which clients mean this socket; empty: the
	// socket's own address.
	Original string
}

// Serve starts the app of a node on its listeners, of which it becomes the
// owner, and returns at once. The end of ctx stops it hard; Close stops it
// gracefully. On an error the listeners are still the caller's.
//
// An app that listens on nothing ("sleep") closes the listeners: a connection
// to its pod is refused.
func Serve(ctx context.Context, node plan.Node, listeners []Listener, sink passport.Sink, ids *passport.IDs) (*Server, error) {
	if node.App == nil {
		return nil, fmt.Errorf("node %s runs no app", node.Name)
	}
	a, ok := builtin[node.App.Name]
	if !ok {
		return nil, fmt.Errorf("node %s: there is no app %q; the apps are: %s", node.Name, node.App.Name, strings.Join(Names(), ", "))
	}
	if a.handler == nil {
		var errs []error
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		return &Server{}, errors.Join(errs...)
	}
	s := newServer(node, a, sink, ids)
	s.start(ctx, listeners)
	return s, nil
}

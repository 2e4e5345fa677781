// Package apps holds the workloads that stand in for container images.
//
// An app serves HTTP, or a protocol of its own, on the sockets that testbed
// bound for its pod, and calls other Services as its container would. It knows
// nothing of the proxies around it; like every node it gives out its own ends
// of connections and requests.
package apps

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// app is one built-in workload. With neither handler nor stream it listens on
// nothing.
type app struct {
	handler func(*Server) http.Handler // it speaks HTTP
	stream  func(*Server) stream       // it speaks a protocol of its own

	// h2: HTTP/2 is spoken besides HTTP/1.1, where ALPN chooses it and, as a
	// port that is named grpc or http2 expects, with prior knowledge.
	h2 bool
	// idle is how long a kept-alive connection may wait for its next request.
	idle time.Duration
	// plaintext is the answer to plain HTTP on a port that speaks TLS.
	plaintext func() *http.Response
}

// builtin are the apps by the names that plan.App.Name takes.
var builtin = map[string]app{
	"echo":           {handler: newEcho, h2: true, idle: patient, plaintext: goPlaintext},
	"httpbin":        {handler: newHTTPBin, h2: true, idle: patient, plaintext: goPlaintext},
	"nginx":          {handler: stockNginx.handler, idle: nginxKeepalive, plaintext: stockNginx.plaintext},
	"redis":          {stream: newRedis},
	"sleep":          {},
	"smtp":           {stream: newSMTP},
	"tcp-echo":       {stream: newTCPEcho},
	"yelb-appserver": {handler: newYelbAppserver, idle: patient, plaintext: goPlaintext},
	"yelb-db":        {stream: newYelbDB},
	"yelb-ui":        {handler: newYelbUI, idle: nginxKeepalive, plaintext: yelbNginx.plaintext},
}

// Names are the built-in apps, sorted.
func Names() []string { return slices.Sorted(maps.Keys(builtin)) }

// Protocol is what an app speaks on a port, for people: HTTP, HTTPS, TCP or TLS.
func Protocol(a *plan.App, port int) string {
	secure := a.Certificate(port) != ""
	switch http := builtin[a.Name].stream == nil; {
	case http && secure:
		return "HTTPS"
	case http:
		return "HTTP"
	case secure:
		return "TLS"
	}
	return "TCP"
}

// Env is all that an app needs from outside.
type Env struct {
	Sink passport.Sink
	// Certificate resolves the name of a certificate, at each handshake: what
	// was missing heals without a restart. Nil is allowed for an app that
	// terminates no TLS.
	Certificate func(ctx context.Context, name string) (*tls.Certificate, error)
	// Dial opens a connection as a container of the app's pod does that asks
	// for host:port: by the names of Services that its namespace may use, and
	// through its sidecar where it has one. With an error the rest of Upstream
	// still tells who was meant. Nil is allowed for an app that calls nobody.
	Dial func(ctx context.Context, host string, port int) (Upstream, error)
	// KeyLog gets the secrets of TLS sessions (tls.Config.KeyLogWriter); nil:
	// nobody does.
	KeyLog io.Writer
}

// Upstream is a connection that was dialled for an app.
type Upstream struct {
	net.Conn
	Peer string // the node at its other end; empty where that is none of ours
	Pod  bool   // it does not leave the pod: the peer is the pod's own sidecar
}

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
func Serve(ctx context.Context, node plan.Node, listeners []Listener, env Env) (*Server, error) {
	if node.App == nil {
		return nil, fmt.Errorf("node %s runs no app", node.Name)
	}
	a, ok := builtin[node.App.Name]
	if !ok {
		return nil, fmt.Errorf("node %s: there is no app %q; the apps are: %s", node.Name, node.App.Name, strings.Join(Names(), ", "))
	}
	if a.handler == nil && a.stream == nil {
		var errs []error
		for _, l := range listeners {
			errs = append(errs, l.Close())
		}
		return &Server{}, errors.Join(errs...)
	}
	s := newServer(node, a, env)
	s.start(ctx, listeners)
	return s, nil
}

package testbed

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/mux"
)

// serveAdmin answers on loopback, until ctx ends, what a node is asked about
// itself, under Envoy's paths: GET /ready.
// envoyproxy.io: operations/admin
func (a *agent) serveAdmin(ctx context.Context, addr string) error {
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	r := mux.NewRouter()
	r.HandleFunc("/ready", a.answerReady).Methods(http.MethodGet)
	s := &http.Server{Handler: r, ReadHeaderTimeout: adminTimeout}
	context.AfterFunc(ctx, func() { _ = s.Close() })
	go func() { _ = s.Serve(l) }()
	return nil
}

// adminTimeout is how long a request's header may take.
const adminTimeout = 5 * time.Second

// answerReady tells whether a plan is in force, in Envoy's words.
func (a *agent) answerReady(w http.ResponseWriter, _ *http.Request) {
	if !a.ready.Load() {
		http.Error(w, "PRE_INITIALIZING", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("LIVE\n"))
}

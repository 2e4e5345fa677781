package testbed

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"hoplab.dev/testbed/control"
)

// serveAdmin answers on loopback, until ctx ends, what a node is asked about
// itself, under Envoy's paths: GET /ready, /config_dump (its part of the plan)
// and /stats/prometheus. POST /quitquitquit, which ends the node, takes the
// node's token.
// envoyproxy.io: operations/admin
func (a *agent) serveAdmin(ctx context.Context, addr, token string) error {
	host, _, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return errors.New(addr + " is no address of loopback, and a port")
	}
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return err
	}
	r := mux.NewRouter()
	r.HandleFunc("/ready", a.answerReady).Methods(http.MethodGet)
	r.HandleFunc("/config_dump", a.answerPlan).Methods(http.MethodGet)
	r.HandleFunc(metricsPath, a.answerMetrics).Methods(http.MethodGet)
	r.HandleFunc("/quitquitquit", func(w http.ResponseWriter, r *http.Request) {
		given := control.Bearer(r)
		if given == "" || subtle.ConstantTimeCompare([]byte(given), []byte(token)) != 1 {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "send Authorization: Bearer, and the node's token", http.StatusUnauthorized)
			return
		}
		_, _ = w.Write([]byte("OK\n"))
		a.quit()
	}).Methods(http.MethodPost)
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

// own is the node that the process is; nil: it has no plan yet.
func (a *agent) own() *node {
	a.site.mu.RLock()
	defer a.site.mu.RUnlock()
	return a.site.nodes[a.name]
}

func (a *agent) answerPlan(w http.ResponseWriter, _ *http.Request) {
	n := a.own()
	if n == nil {
		http.Error(w, "there is no plan yet", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	a.site.mu.RLock()
	p := n.plan
	a.site.mu.RUnlock()
	_ = e.Encode(p) // a client that went is no error
}

func (a *agent) answerMetrics(w http.ResponseWriter, r *http.Request) {
	n := a.own()
	if n == nil || n.meter == nil {
		http.Error(w, "there are no metrics", http.StatusNotFound)
		return
	}
	n.meter.Handler().ServeHTTP(w, r)
}

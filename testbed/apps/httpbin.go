package apps

import (
	"net/http"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"
)

// newHTTPBin is go-httpbin. A body may have 10 MiB and a delay 10 s; it
// redirects wherever it is told to and tells its pod as its host name.
func newHTTPBin(s *Server) http.Handler {
	return httpbin.New(
		httpbin.WithMaxBodySize(10<<20),
		httpbin.WithMaxDuration(10*time.Second),
		httpbin.WithHostname(s.node.App.Pod),
	)
}

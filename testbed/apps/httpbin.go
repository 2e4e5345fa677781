package apps

import (
	"net/http"
	"time"

	"github.com/mccutchen/go-httpbin/v2/httpbin"

	"hoplab.dev/plan"
)

// newHTTPBin is go-httpbin. A body may have 10 MiB and a delay 10 s; it
// redirects wherever it is told to and tells its pod as its host name.
func newHTTPBin(a plan.App) http.Handler {
	return httpbin.New(
		httpbin.WithMaxBodySize(10<<20),
		httpbin.WithMaxDuration(10*time.Second),
		httpbin.WithHostname(a.Pod),
	)
}

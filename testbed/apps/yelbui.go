package apps

import (
	_ "embed"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

//go:embed yelbui.html
var yelbPage string

// yelbNginx is the base of yelb's front end (yelb: yelb-ui/Dockerfile, FROM
// nginx:1.17.10).
var yelbNginx = nginx{version: "nginx/1.17.10", page: yelbPage, modified: time.Date(2020, time.April, 14, 14, 19, 26, 0, time.UTC)}

const (
	// yelbAppserver is who answers all below /api (yelb: yelb-ui/startup.sh).
	yelbAppserver = "yelb-appserver:4567"
	// proxyTimeout is nginx's default for proxy_read_timeout.
	proxyTimeout = 60 * time.Second
	// maxProxiedBody is nginx's default for client_max_body_size.
	maxProxiedBody = 1 << 20
)

// newYelbUI is yelb's front end: a page, and nginx's proxy_pass to the
// appserver.
func newYelbUI(s *Server) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: s.newTransport(proxyTimeout),
		Rewrite: func(r *httputil.ProxyRequest) {
			// nginx adds none of its own, and lets pass what came.
			for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
				if values, ok := r.In.Header[name]; ok {
					r.Out.Header[name] = values
				}
			}
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.URL.RawQuery = "http", yelbAppserver, r.In.URL.RawQuery
			r.Out.Host = yelbAppserver // nginx: proxy_set_header Host $proxy_host
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("Date") // nginx: ngx_http_proxy_hide_headers
			r.Header.Set("Server", yelbNginx.version)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			var timeout net.Error
			switch {
			case r.Context().Err() != nil:
				panic(http.ErrAbortHandler) // the client went; there is nobody to answer
			case errors.As(err, &timeout) && timeout.Timeout():
				yelbNginx.refuse(w, http.StatusGatewayTimeout, "Gateway Time-out")
			default:
				yelbNginx.refuse(w, http.StatusBadGateway, "Bad Gateway")
			}
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.ContentLength > maxProxiedBody:
			yelbNginx.refuse(w, http.StatusRequestEntityTooLarge, "Request Entity Too Large")
		case strings.HasPrefix(r.URL.Path, "/api"):
			proxy.ServeHTTP(w, r)
		default:
			yelbNginx.ServeHTTP(w, r)
		}
	})
}

package apps

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hoplab.dev/plan"
)

const nginxVersion = "nginx/1.27.0"

// nginxBuilt is the Last-Modified of the 1.27.0 image's index.html.
var nginxBuilt = time.Date(2024, time.May, 28, 13, 22, 30, 0, time.UTC)

const nginxWelcome = `<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
<style>body { width: 35em; margin: 0 auto; font-family: sans-serif; }</style>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This page is served by hoplab, in the place of the stock nginx image: the
request found its way to the pod.</p>
</body>
</html>
`

// newNginx answers as the stock nginx image does: one page, and errors.
func newNginx(plan.App) http.Handler {
	// nginx: ngx_http_set_etag, "%xT-%xO" of modification time and length
	etag := fmt.Sprintf(`"%x-%x"`, nginxBuilt.Unix(), len(nginxWelcome))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", nginxVersion)
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			nginxError(w, http.StatusMethodNotAllowed, "Not Allowed") // nginx: ngx_http_error_405_page
		case r.URL.Path == "/" || r.URL.Path == "/index.html":
			w.Header().Set("Content-Type", "text/html") // nginx: mime.types, no charset
			w.Header().Set("ETag", etag)
			http.ServeContent(w, r, "index.html", nginxBuilt, strings.NewReader(nginxWelcome))
		default:
			nginxError(w, http.StatusNotFound, "Not Found")
		}
	})
}

// nginxError is the page of ngx_http_special_response.c.
func nginxError(w http.ResponseWriter, status int, reason string) {
	page := fmt.Sprintf("<html>\r\n<head><title>%[1]d %[2]s</title></head>\r\n<body>\r\n<center><h1>%[1]d %[2]s</h1></center>\r\n<hr><center>%[3]s</center>\r\n</body>\r\n</html>\r\n",
		status, reason, nginxVersion)
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page)) // a client that went is in the request's end
}

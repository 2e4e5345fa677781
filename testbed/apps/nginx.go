package apps

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
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
func newNginx(*Server) http.Handler { return nginxPage(nginxWelcome, nginxBuilt) }

// nginxPage serves one page at the root, as nginx serves its index.html.
func nginxPage(page string, modified time.Time) http.Handler {
	// nginx: ngx_http_set_etag, "%xT-%xO" of modification time and length
	etag := fmt.Sprintf(`"%x-%x"`, modified.Unix(), len(page))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", nginxVersion)
		switch {
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			nginxError(w, http.StatusMethodNotAllowed, "Not Allowed") // nginx: ngx_http_error_405_page
		case r.URL.Path == "/" || r.URL.Path == "/index.html":
			w.Header().Set("Content-Type", "text/html") // nginx: mime.types, no charset
			w.Header().Set("ETag", etag)
			http.ServeContent(w, r, "index.html", modified, strings.NewReader(page))
		default:
			nginxError(w, http.StatusNotFound, "Not Found")
		}
	})
}

// nginxError answers with an error's page.
func nginxError(w http.ResponseWriter, status int, reason string) {
	page := nginxErrorPage(fmt.Sprintf("%d %s", status, reason), "")
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page)) // a client that went is in the request's end
}

// nginxErrorPage is a page of ngx_http_special_response.c; of those that say
// more than the status, reason is the second line, and the title.
func nginxErrorPage(status, reason string) string {
	title, second := status, ""
	if reason != "" {
		title = status[:4] + reason
		second = "<center>" + reason + "</center>\r\n"
	}
	return fmt.Sprintf("<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n%s<hr><center>%s</center>\r\n</body>\r\n</html>\r\n",
		title, status, second, nginxVersion)
}

// nginxPlaintext answers plain HTTP on a port with ssl on.
// nginx: ngx_http_special_response.c ngx_http_error_497_page
func nginxPlaintext() *http.Response {
	return textResponse(http.StatusBadRequest, http.Header{"Server": {nginxVersion}, "Content-Type": {"text/html"}},
		nginxErrorPage("400 Bad Request", "The plain HTTP request was sent to HTTPS port"))
}

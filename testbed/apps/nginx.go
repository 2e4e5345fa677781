package apps

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// nginx is what a stock nginx image does: one page at the root, and errors.
type nginx struct {
	version  string // as its Server header and its pages tell it
	page     string
	modified time.Time
}

// stockNginx is the image of the official name. Its index.html has the
// Last-Modified of release 1.27.0.
var stockNginx = nginx{version: "nginx/1.27.0", page: nginxWelcome, modified: time.Date(2024, time.May, 28, 13, 22, 30, 0, time.UTC)}

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

func (n nginx) handler(*Server) http.Handler { return n }

// ServeHTTP is http.Handler's.
func (n nginx) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		n.refuse(w, http.StatusMethodNotAllowed, "Not Allowed") // nginx: ngx_http_error_405_page
	case r.URL.Path == "/" || r.URL.Path == "/index.html":
		w.Header().Set("Server", n.version)
		w.Header().Set("Content-Type", "text/html") // nginx: mime.types, no charset
		// nginx: ngx_http_set_etag, "%xT-%xO" of modification time and length
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, n.modified.Unix(), len(n.page)))
		http.ServeContent(w, r, "index.html", n.modified, strings.NewReader(n.page))
	default:
		n.refuse(w, http.StatusNotFound, "Not Found")
	}
}

// refuse answers with an error's page.
func (n nginx) refuse(w http.ResponseWriter, status int, reason string) {
	page := n.errorPage(fmt.Sprintf("%d %s", status, reason), "")
	w.Header().Set("Server", n.version)
	w.Header().Set("Content-Type", "text/html")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write([]byte(page)) // a client that went is in the request's end
}

// errorPage is a page of ngx_http_special_response.c; of those that say
// more than the status, reason is the second line, and the title.
func (n nginx) errorPage(status, reason string) string {
	title, second := status, ""
	if reason != "" {
		title = status[:4] + reason
		second = "<center>" + reason + "</center>\r\n"
	}
	return fmt.Sprintf("<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n<center><h1>%s</h1></center>\r\n%s<hr><center>%s</center>\r\n</body>\r\n</html>\r\n",
		title, status, second, n.version)
}

// plaintext answers plain HTTP on a port with ssl on.
// nginx: ngx_http_special_response.c ngx_http_error_497_page
func (n nginx) plaintext() *http.Response {
	return textResponse(http.StatusBadRequest, http.Header{"Server": {n.version}, "Content-Type": {"text/html"}},
		n.errorPage("400 Bad Request", "The plain HTTP request was sent to HTTPS port"))
}

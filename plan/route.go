package plan

import "time"

// RouteConfig is a named set of virtual hosts.
type RouteConfig struct {
	Name         string        `json:"name"`                   // what a FilterChain refers to: https.443.NAME.GATEWAY.NAMESPACE, http.8080, inbound|8080||, HTTPS:443
	VirtualHosts []VirtualHost `json:"virtualHosts,omitempty"` // the one whose domain fits best takes a request
}

// VirtualHost holds the routes of some domains. An ALB's listener has one,
// with domain "*", whose routes are its rules in order of priority.
type VirtualHost struct {
	Name    string   `json:"name"`             // as istiod names it: HOST:PORT; of an ALB the listener's
	Domains []string `json:"domains"`          // "a.b", "*.b", "a.*" or "*"
	Routes  []Route  `json:"routes,omitempty"` // tried in order
	// RequireTLS redirects whoever came by http to the same URL by https, 301
	// (Envoy's require_tls; httpsRedirect of a Gateway's server).
	RequireTLS bool   `json:"requireTLS,omitempty"`
	Source     Source `json:"source,omitzero"`
}

// Route is the first that matches wins.
type Route struct {
	// Name is an ALB rule's priority ("1", "default"), or what istiod calls the
	// route: the rule's own name, and behind a dot that of its match. A rule
	// without a name has a route without one, and Envoy's log says "-".
	// istiod: pilot/pkg/networking/core/route/route.go translateRoute
	Name  string     `json:"name,omitempty"`
	Match RouteMatch `json:"match,omitzero"` // what a request must have

	// One of these acts.
	Forward    []WeightedCluster `json:"forward,omitempty"`
	Redirect   *Redirect         `json:"redirect,omitempty"`   // an ALB's redirect action
	RedirectTo *RedirectTo       `json:"redirectTo,omitempty"` // an Envoy's
	Response   *FixedResponse    `json:"response,omitempty"`   // an answer without a target

	// What an Envoy does besides.
	Rewrite *Rewrite      `json:"rewrite,omitempty"`
	Timeout time.Duration `json:"timeout,omitempty"` // of the whole request, retries included; 0: none
	Retry   *Retry        `json:"retry,omitempty"`   // nil: never. An ALB never does.
	Fault   *Fault        `json:"fault,omitempty"`   // made on purpose, before anything is sent
	Mirrors []Mirror      `json:"mirrors,omitempty"` // get a copy, and their answers are thrown away
	CORS    *CORS         `json:"cors,omitempty"`    // answers preflight requests

	HeaderChanges // of all destinations; those of the chosen one come first

	Because string `json:"because,omitempty"` // `prefix "/"`, `host-header *.example.com`
	Source  Source `json:"source,omitzero"`
}

// RedirectTo is an Envoy's redirect; what is empty stays as it was asked for.
// envoy: config/route/v3/route_components.proto RedirectAction
type RedirectTo struct {
	Scheme string `json:"scheme,omitempty"` // http or https
	Host   string `json:"host,omitempty"`   // without the port
	Port   int    `json:"port,omitempty"`   // 0: as RedirectAction says of a changed scheme
	Path   string `json:"path,omitempty"`   // the whole path; the query stays unless Path has one
	Prefix string `json:"prefix,omitempty"` // replaces the matched prefix
	Status int    `json:"status"`           // 301, 302, 303, 307 or 308
}

// Rewrite changes a request before it goes to a destination. What was there is
// sent along as x-envoy-original-path and x-envoy-original-host.
type Rewrite struct {
	// One of these changes the path.
	Prefix *string `json:"prefix,omitempty"` // replaces the matched prefix
	Path   string  `json:"path,omitempty"`   // replaces the whole path
	Regex  string  `json:"regex,omitempty"`  // RE2; what matches becomes Substitution
	// Substitution is the text for Regex, with \1 for its groups.
	Substitution string `json:"substitution,omitempty"`

	Host string `json:"host,omitempty"` // Host or :authority; empty: as it was
}

// Retry says when and how often an Envoy tries again.
// envoy: config/route/v3/route_components.proto RetryPolicy
type Retry struct {
	Attempts      int           `json:"attempts"`                // besides the first one
	On            []string      `json:"on"`                      // Envoy's words: connect-failure, refused-stream ...
	Statuses      []int         `json:"statuses,omitempty"`      // for retriable-status-codes
	PerTryTimeout time.Duration `json:"perTryTimeout,omitempty"` // 0: none
	BackOff       time.Duration `json:"backOff,omitempty"`       // base interval; 0: 25 ms
	// OtherHosts prefers endpoints that were not tried (the previous_hosts predicate).
	OtherHosts bool `json:"otherHosts,omitempty"`
}

// Fault is Envoy's fault filter. Percentages are of requests, 0 to 100.
type Fault struct {
	Delay        time.Duration `json:"delay,omitempty"`        // before the request goes on
	DelayPercent float64       `json:"delayPercent,omitempty"` // of the requests that are delayed
	// AbortStatus is an HTTP status; 0: AbortGRPC, or no abort.
	AbortStatus  int     `json:"abortStatus,omitempty"`
	AbortGRPC    *int    `json:"abortGRPC,omitempty"`    // a gRPC status code
	AbortPercent float64 `json:"abortPercent,omitempty"` // of the requests that are aborted
}

// Mirror is a cluster that gets a copy of requests.
type Mirror struct {
	Cluster string  `json:"cluster"` // a Cluster's name
	Percent float64 `json:"percent"` // of requests, 0 to 100
	Source  Source  `json:"source,omitzero"`
}

// CORS is Envoy's cors filter. envoy: extensions/filters/http/cors/v3/cors.proto
type CORS struct {
	Origins       []StringMatch `json:"origins,omitempty"`       // those that may ask
	Methods       string        `json:"methods,omitempty"`       // of Access-Control-Allow-Methods
	Headers       string        `json:"headers,omitempty"`       // of Access-Control-Allow-Headers
	ExposeHeaders string        `json:"exposeHeaders,omitempty"` // of Access-Control-Expose-Headers
	MaxAge        string        `json:"maxAge,omitempty"`        // seconds
	Credentials   *bool         `json:"credentials,omitempty"`   // of Access-Control-Allow-Credentials
	// ForwardNotMatching sends preflights of other origins on. istiod sets it
	// unless unmatchedPreflights says otherwise.
	ForwardNotMatching bool `json:"forwardNotMatching,omitempty"`
}

// HeaderChanges are made on the way to a destination and back.
type HeaderChanges struct {
	Request  *HeaderOperations `json:"requestHeaders,omitempty"`  // on the way there
	Response *HeaderOperations `json:"responseHeaders,omitempty"` // on the way back
}

// HeaderOperations are done in the order remove, set, add.
type HeaderOperations struct {
	Set    []HeaderField `json:"set,omitempty"`    // overwrites; host and :authority too
	Add    []HeaderField `json:"add,omitempty"`    // appends a further value
	Remove []string      `json:"remove,omitempty"` // names
}

// HeaderField is one field of a header. The value may hold Envoy's command
// operators (%REQ(x-request-id)%, %DOWNSTREAM_REMOTE_ADDRESS% ...).
type HeaderField struct {
	Name  string `json:"name"`  // in any case
	Value string `json:"value"` // as said above
}

// StringMatch is Envoy's StringMatcher: exactly one field is given, but for
// IgnoreCase. Regex is RE2 over the whole value.
type StringMatch struct {
	Exact      *string `json:"exact,omitempty"`      // the whole value
	Prefix     string  `json:"prefix,omitempty"`     // what it begins with
	Suffix     string  `json:"suffix,omitempty"`     // what it ends with
	Contains   string  `json:"contains,omitempty"`   // what is somewhere in it
	Regex      string  `json:"regex,omitempty"`      // RE2, over the whole value
	Present    bool    `json:"present,omitempty"`    // any value, the empty one too
	IgnoreCase bool    `json:"ignoreCase,omitempty"` // of all but Regex
}

// FieldMatch is a condition on a header field or query parameter. Header names
// may be Envoy's pseudo headers: ":method", ":scheme", ":authority", ":path".
type FieldMatch struct {
	Name  string      `json:"name"`  // in any case; of a query parameter to the letter
	Value StringMatch `json:"value"` // what the value must be
	// Not turns it round. A header that is absent does not match; with Not it
	// counts as empty (treat_missing_header_as_empty), but for Present.
	Not bool `json:"not,omitempty"`
}

// RouteMatch is what must hold: all that is given. Within a list one must.
type RouteMatch struct {
	// Envoy's: at most one of the first four. Prefix is a plain string prefix,
	// Regex is RE2 over the whole path without the query.
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"` // a prefix of the path's text
	Regex  string `json:"regex,omitempty"`  // RE2, over the whole path
	// PathPrefix is a prefix of whole segments: "/foo" takes "/foo" and
	// "/foo/bar", not "/foobar".
	PathPrefix string `json:"pathPrefix,omitempty"`

	IgnoreCase bool         `json:"ignoreCase,omitempty"` // of Exact and Prefix
	Fields     []FieldMatch `json:"fields,omitempty"`     // all must hold
	Parameters []FieldMatch `json:"parameters,omitempty"` // of the query; all must hold

	// An ALB's rule conditions: globs of * and ?.
	// ALB-UG: load-balancer-listeners.md
	HostHeader  []string         `json:"hostHeader,omitempty"`  // case-insensitive
	PathPattern []string         `json:"pathPattern,omitempty"` // case-sensitive
	Methods     []string         `json:"methods,omitempty"`     // exact
	Headers     []HeaderPattern  `json:"headers,omitempty"`     // all must hold
	Queries     [][]QueryPattern `json:"queries,omitempty"`     // all must hold; one of each suffices
	SourceIPs   []string         `json:"sourceIPs,omitempty"`   // CIDRs of the TCP peer
}

// HeaderPattern is an ALB http-header condition: one of Values matches.
type HeaderPattern struct {
	Name   string   `json:"name"`   // in any case
	Values []string `json:"values"` // globs, case-insensitive
}

// QueryPattern is one value of an ALB query-string condition.
type QueryPattern struct {
	Key   string `json:"key,omitempty"` // empty: any key
	Value string `json:"value"`         // a glob, case-insensitive
}

// WeightedCluster is a destination. Weights are relative to their sum.
type WeightedCluster struct {
	Cluster string `json:"cluster"` // a Cluster's name; one that the node does not have is answered 503
	Weight  int    `json:"weight"`  // 0: gets nothing, unless all have 0
	Because string `json:"because,omitempty"`
	HeaderChanges
	// Host becomes the request's, unless the route's Rewrite has one.
	Host   string `json:"host,omitempty"`
	Source Source `json:"source,omitzero"`
}

// Redirect is an ALB's redirect action; each part may hold the placeholders
// #{protocol} #{host} #{port} #{path} #{query}.
// ALB-UG: load-balancer-listeners.md
type Redirect struct {
	Protocol string `json:"protocol"` // HTTP, HTTPS or #{protocol}
	Host     string `json:"host"`     // a name, #{host} in it
	Port     string `json:"port"`     // a number or #{port}
	Path     string `json:"path"`     // begins with /; #{path} has no slash of its own
	Query    string `json:"query"`    // without ?
	Status   int    `json:"status"`   // 301 or 302
}

// FixedResponse is an ALB's fixed-response action, and an Envoy's direct
// response.
type FixedResponse struct {
	Status      int    `json:"status"`                // of an ALB 2xx, 4xx or 5xx
	ContentType string `json:"contentType,omitempty"` // text/plain and the like; empty: none
	Body        string `json:"body,omitempty"`        // of an ALB at most 1,024 bytes
}

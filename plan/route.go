package plan

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
	Source  Source   `json:"source,omitzero"`
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
	Forward  []WeightedCluster `json:"forward,omitempty"`
	Redirect *Redirect         `json:"redirect,omitempty"` // an ALB's redirect action
	Response *FixedResponse    `json:"response,omitempty"` // an answer without a target

	// Retries is how often an Envoy tries again; 0: never. An ALB never does.
	Retries int      `json:"retries,omitempty"`
	RetryOn []string `json:"retryOn,omitempty"` // Envoy's words: connect-failure, refused-stream ...

	Because string `json:"because,omitempty"` // `prefix "/"`, `host-header *.example.com`
	Source  Source `json:"source,omitzero"`
}

// RouteMatch is what must hold: all that is given. Within a list one must.
type RouteMatch struct {
	// Envoy's: at most one of these. Prefix is a plain string prefix, Regex
	// is RE2 over the whole path without the query.
	Exact  string `json:"exact,omitempty"`
	Prefix string `json:"prefix,omitempty"` // a prefix of the path's text
	Regex  string `json:"regex,omitempty"`  // RE2, over the whole path

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
	Source  Source `json:"source,omitzero"`
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

// FixedResponse is an ALB's fixed-response action.
type FixedResponse struct {
	Status      int    `json:"status"`                // 2xx, 4xx or 5xx
	ContentType string `json:"contentType,omitempty"` // text/plain and the like; empty: none
	Body        string `json:"body,omitempty"`        // at most 1,024 bytes
}

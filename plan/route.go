package plan

// RouteConfig is a named set of virtual hosts.
type RouteConfig struct {
	Name         string        `json:"name"`
	VirtualHosts []VirtualHost `json:"virtualHosts,omitempty"`
}

// VirtualHost holds the routes of some domains. An ALB's listener has one,
// with domain "*", whose routes are its rules in order of priority.
type VirtualHost struct {
	Name    string   `json:"name"`
	Domains []string `json:"domains"` // "a.b", "*.b", "a.*" or "*"
	Routes  []Route  `json:"routes,omitempty"`
	Source  Source   `json:"source,omitzero"`
}

// Route is the first that matches wins.
type Route struct {
	Name  string     `json:"name,omitempty"` // an ALB rule's priority ("1", "default"), a VirtualService route's name
	Match RouteMatch `json:"match,omitzero"`

	// One of these acts.
	Forward  []WeightedCluster `json:"forward,omitempty"`
	Redirect *Redirect         `json:"redirect,omitempty"`
	Response *FixedResponse    `json:"response,omitempty"`

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
	Prefix string `json:"prefix,omitempty"`
	Regex  string `json:"regex,omitempty"`

	// An ALB's rule conditions (facts/aws.md 3.6): globs of * and ?.
	HostHeader  []string         `json:"hostHeader,omitempty"`  // case-insensitive
	PathPattern []string         `json:"pathPattern,omitempty"` // case-sensitive
	Methods     []string         `json:"methods,omitempty"`     // exact
	Headers     []HeaderPattern  `json:"headers,omitempty"`     // all must hold
	Queries     [][]QueryPattern `json:"queries,omitempty"`     // all must hold; one of each suffices
	SourceIPs   []string         `json:"sourceIPs,omitempty"`   // CIDRs of the TCP peer
}

// HeaderPattern is an ALB http-header condition: one of Values matches.
type HeaderPattern struct {
	Name   string   `json:"name"`
	Values []string `json:"values"` // globs, case-insensitive
}

// QueryPattern is one value of an ALB query-string condition.
type QueryPattern struct {
	Key   string `json:"key,omitempty"` // empty: any key
	Value string `json:"value"`
}

// WeightedCluster is a destination. Weights are relative to their sum.
type WeightedCluster struct {
	Cluster string `json:"cluster"`
	Weight  int    `json:"weight"`
	Because string `json:"because,omitempty"`
	Source  Source `json:"source,omitzero"`
}

// Redirect is an ALB's redirect action; each part may hold the placeholders
// #{protocol} #{host} #{port} #{path} #{query} (facts/aws.md 3.5).
type Redirect struct {
	Protocol string `json:"protocol"`
	Host     string `json:"host"`
	Port     string `json:"port"`
	Path     string `json:"path"`
	Query    string `json:"query"`
	Status   int    `json:"status"` // 301 or 302
}

// FixedResponse is an ALB's fixed-response action.
type FixedResponse struct {
	Status      int    `json:"status"`
	ContentType string `json:"contentType,omitempty"`
	Body        string `json:"body,omitempty"`
}

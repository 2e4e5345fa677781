package aws

import (
	"maps"
	"slices"
	"strings"
)

// use says what becomes of an annotation here.
type use int

const (
	read        use = iota + 1 // it shapes the plan
	inert                      // it changes nothing that is emulated: AWS resources, tags, network access
	unsupported                // it changes the wire, and is refused
	unlessOff                  // unsupported unless its value is false, none or empty
)

// term is one annotation suffix; those of dotted families end with a dot.
type term struct {
	use
	target bool // read on a Service too: the settings of target groups
}

// vocabulary is every annotation of the controller.
// LBC: pkg/annotations/constants.go
var vocabulary = map[string]term{
	"load-balancer-name":             {use: read},
	"group.name":                     {use: read},
	"group.order":                    {use: read},
	"scheme":                         {use: read},
	"load-balancer-attributes":       {use: read},
	"inbound-cidrs":                  {use: read}, // checked and compared; no client is kept out
	"tags":                           {use: inert, target: true},
	"ip-address-type":                {use: inert},
	"subnets":                        {use: inert},
	"customer-owned-ipv4-pool":       {use: inert},
	"ipam-ipv4-pool-id":              {use: inert},
	"minimum-load-balancer-capacity": {use: inert},
	"dry-run-plan":                   {use: unlessOff},

	"security-groups":                     {use: inert},
	"manage-backend-security-group-rules": {use: inert},
	"security-group-prefix-lists":         {use: inert},
	"shield-advanced-protection":          {use: inert},
	"wafv2-acl-arn":                       {use: unlessOff},
	"wafv2-acl-name":                      {use: unlessOff},
	"waf-acl-id":                          {use: unlessOff},
	"web-acl-id":                          {use: unlessOff},

	"listen-ports":          {use: read},
	"ssl-redirect":          {use: read},
	"certificate-arn":       {use: read},
	"ssl-policy":            {use: read},
	"mutual-authentication": {use: read},
	"listener-attributes.":  {use: read},
	"create-acm-cert":       {use: unlessOff},
	"acm-pca-arn":           {use: inert}, // of create-acm-cert

	"target-type":                  {use: read, target: true},
	"backend-protocol":             {use: read, target: true},
	"backend-protocol-version":     {use: read, target: true},
	"target-group-attributes":      {use: read, target: true},
	"healthcheck-port":             {use: read, target: true},
	"healthcheck-protocol":         {use: read, target: true},
	"healthcheck-path":             {use: read, target: true},
	"healthcheck-interval-seconds": {use: read, target: true},
	"healthcheck-timeout-seconds":  {use: read, target: true},
	"healthy-threshold-count":      {use: read, target: true},
	"unhealthy-threshold-count":    {use: read, target: true},
	"success-codes":                {use: read, target: true},
	"multi-cluster-target-group":   {use: inert, target: true},
	"target-node-labels":           {use: unsupported, target: true},
	"target-control-port.":         {use: unsupported, target: true},

	"actions.":             {use: read},
	"conditions.":          {use: read},
	"transforms.":          {use: unsupported},
	"use-regex-path-match": {use: unlessOff},

	"auth-type":                       {use: unlessOff, target: true},
	"auth-idp-cognito":                {use: inert, target: true}, // these and below: of auth-type
	"auth-idp-oidc":                   {use: inert, target: true},
	"auth-on-unauthenticated-request": {use: inert, target: true},
	"auth-scope":                      {use: inert, target: true},
	"auth-session-cookie":             {use: inert, target: true},
	"auth-session-timeout":            {use: inert, target: true},
	"jwt-validation":                  {use: unsupported},

	"enable-frontend-nlb":                                {use: unlessOff},
	"frontend-nlb-scheme":                                {use: inert}, // these and below: of enable-frontend-nlb
	"frontend-nlb-subnets":                               {use: inert},
	"frontend-nlb-security-groups":                       {use: inert},
	"frontend-nlb-listener-port-mapping":                 {use: inert},
	"frontend-nlb-eip-allocations":                       {use: inert},
	"frontend-nlb-healthcheck-port":                      {use: inert},
	"frontend-nlb-healthcheck-protocol":                  {use: inert},
	"frontend-nlb-healthcheck-path":                      {use: inert},
	"frontend-nlb-healthcheck-interval-seconds":          {use: inert},
	"frontend-nlb-healthcheck-timeout-seconds":           {use: inert},
	"frontend-nlb-healthcheck-healthy-threshold-count":   {use: inert},
	"frontend-nlb-healthcheck-unhealthy-threshold-count": {use: inert},
	"frontend-nlb-healthcheck-success-codes":             {use: inert},
	"frontend-nlb-attributes":                            {use: inert},
	"frontend-nlb-tags":                                  {use: inert},
}

// lookUp finds the term of a suffix: itself, or the family that it is of.
func lookUp(suffix string) (term, bool) {
	if t, ok := vocabulary[suffix]; ok {
		return t, !strings.HasSuffix(suffix, ".")
	}
	family, rest, ok := strings.Cut(suffix, ".")
	if !ok || rest == "" {
		return term{}, false
	}
	t, ok := vocabulary[family+"."]
	return t, ok
}

// checkVocabulary looks at the names of an Ingress's annotations.
func (c *compiler) checkVocabulary(m *member) {
	l := m.layer()
	for _, s := range l.all() {
		if t, ok := c.checkName(s); ok {
			c.checkUse(s, t)
		}
	}
	c.checkUnread(m, l)
}

// checkServiceVocabulary does the same for a Service that a rule forwards to.
func (c *compiler) checkServiceVocabulary(l layer) {
	for _, s := range l.all() {
		t, ok := c.checkName(s)
		switch {
		case !ok:
		case !t.target:
			c.warn(CodeUnreadAnnotation, s.where, "move it to the Ingress", "%s%s is not read on a Service", prefix, s.suffix)
		default:
			c.checkUse(s, t)
		}
	}
}

func (c *compiler) checkName(s setting) (term, bool) {
	t, ok := lookUp(s.suffix)
	if !ok {
		known := slices.Collect(maps.Keys(vocabulary))
		c.warn(CodeUnknownAnnotation, s.where, didYouMean(s.suffix, known, "see the controller's list of Ingress annotations"),
			"the controller knows no annotation %s%s and ignores it", prefix, s.suffix)
	}
	return t, ok
}

func (c *compiler) checkUse(s setting, t term) {
	switch {
	case t.use == unsupported, t.use == unlessOff && !off(s.value):
		c.refuse(s.where, "leave the annotation out to run the rest", "%s%s", prefix, s.suffix)
	}
}

// off tells whether a value switches its feature off.
func off(value string) bool {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "0", "f", "false", "none":
		return true
	}
	return false
}

// checkUnread finds actions and conditions that no backend names.
func (c *compiler) checkUnread(m *member, l layer) {
	actions, conditions := map[string]bool{}, map[string]bool{}
	for _, b := range m.backends() {
		if b.Service == nil {
			continue
		}
		conditions[b.Service.Name] = true
		if b.Service.Port.Name == useAnnotation {
			actions[b.Service.Name] = true
		}
	}
	for _, s := range l.all() {
		if name, ok := strings.CutPrefix(s.suffix, "actions."); ok && !actions[name] {
			c.warn(CodeUnreadAnnotation, s.where, "name it in a backend: service: {name: "+name+", port: {name: use-annotation}}",
				"no backend of this Ingress uses the action %s", name)
		}
		if name, ok := strings.CutPrefix(s.suffix, "conditions."); ok && !conditions[name] {
			c.warn(CodeUnreadAnnotation, s.where, "the name after conditions. is that of a backend's Service",
				"no backend of this Ingress is named %s, so its conditions apply to nothing", name)
		}
	}
}

package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	networkingv1 "k8s.io/api/networking/v1"

	"hoplab.dev/plan"
)

// useAnnotation is the name of a backend's port that stands for actions.NAME.
// LBC: pkg/ingress/enhanced_backend_builder.go
const useAnnotation = "use-annotation"

// The bodies of the 503 responses for what a backend names and is not there.
const (
	noServiceBody = "Backend service does not exist"
	noActionBody  = "Backend action does not exist"
)

// action is what a rule does: one of the first three.
type action struct {
	redirect *redirectJSON
	response *plan.FixedResponse
	forward  []plan.WeightedCluster
	fault    string // why the AWS API refuses it
}

// actionJSON is actions.NAME. LBC: pkg/ingress/config_types.go Action
type actionJSON struct {
	Type                string        `json:"type"`
	TargetGroupARN      *string       `json:"targetGroupARN"`
	TargetGroupName     *string       `json:"targetGroupName,omitempty"`
	FixedResponseConfig *responseJSON `json:"fixedResponseConfig,omitempty"`
	RedirectConfig      *redirectJSON `json:"redirectConfig,omitempty"`
	ForwardConfig       *forwardJSON  `json:"forwardConfig,omitempty"`
}

type responseJSON struct {
	ContentType *string `json:"contentType,omitempty"`
	MessageBody *string `json:"messageBody,omitempty"`
	StatusCode  string  `json:"statusCode"`
}

type redirectJSON struct {
	Host       *string `json:"host,omitempty"`
	Path       *string `json:"path,omitempty"`
	Port       *string `json:"port,omitempty"`
	Protocol   *string `json:"protocol,omitempty"`
	Query      *string `json:"query,omitempty"`
	StatusCode string  `json:"statusCode"`
}

type forwardJSON struct {
	TargetGroups                []tupleJSON     `json:"targetGroups"`
	TargetGroupStickinessConfig *stickinessJSON `json:"targetGroupStickinessConfig,omitempty"`
}

type tupleJSON struct {
	TargetGroupARN  *string      `json:"targetGroupARN"`
	TargetGroupName *string      `json:"targetGroupName,omitempty"`
	ServiceName     *string      `json:"serviceName"`
	ServicePort     *servicePort `json:"servicePort"`
	Weight          *int32       `json:"weight,omitempty"`
}

type stickinessJSON struct {
	Enabled         *bool  `json:"enabled,omitempty"`
	DurationSeconds *int32 `json:"durationSeconds,omitempty"`
}

// servicePort is a Service's port as the user spells it: a name, or a number.
type servicePort struct {
	name   string
	number int
}

// String is the spelling, which is part of a target group's identity.
func (p servicePort) String() string {
	if p.name != "" {
		return p.name
	}
	return strconv.Itoa(p.number)
}

// UnmarshalJSON takes a number, a name, or a number in quotes, as old manifests
// have it. LBC: normalizeServicePortForBackwardsCompatibility
func (p *servicePort) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &p.number) == nil {
		return nil
	}
	if err := json.Unmarshal(data, &p.name); err != nil {
		return err
	}
	if n, err := strconv.Atoi(p.name); err == nil {
		p.name, p.number = "", n
	}
	return nil
}

// validate gives the controller's own words.
func (a actionJSON) validate() error {
	named := a.TargetGroupARN != nil || a.TargetGroupName != nil
	switch a.Type {
	case "fixed-response":
		if a.FixedResponseConfig == nil {
			return errors.New("missing FixedResponseConfig")
		}
		if a.FixedResponseConfig.StatusCode == "" {
			return errors.New("invalid FixedResponseConfig: statusCode is required")
		}
	case "redirect":
		if a.RedirectConfig == nil {
			return errors.New("missing RedirectConfig")
		}
		if a.RedirectConfig.StatusCode == "" {
			return errors.New("invalid RedirectConfig: statusCode is required")
		}
	case "forward":
		switch {
		case !named && a.ForwardConfig == nil:
			return errors.New("missing ForwardConfig or TargetGroupARN/TargetGroupName")
		case named && a.ForwardConfig != nil:
			return errors.New("either ForwardConfig or TargetGroupARN/TargetGroupName can be specified")
		case a.ForwardConfig != nil:
			if err := a.ForwardConfig.validate(); err != nil {
				return fmt.Errorf("invalid ForwardConfig: %w", err)
			}
		}
	default:
		return fmt.Errorf("unknown action type: %s", a.Type)
	}
	return nil
}

func (f forwardJSON) validate() error {
	for _, t := range f.TargetGroups {
		named := t.TargetGroupARN != nil || t.TargetGroupName != nil
		switch {
		case !named && t.ServiceName == nil:
			return errors.New("invalid TargetGroupTuple: missing serviceName or targetGroupARN/targetGroupName")
		case named && t.ServiceName != nil:
			return errors.New("invalid TargetGroupTuple: either serviceName or targetGroupARN/targetGroupName can be specified")
		case t.ServiceName != nil && t.ServicePort == nil:
			return errors.New("invalid TargetGroupTuple: missing servicePort")
		}
	}
	if len(f.TargetGroups) > 1 && slices.ContainsFunc(f.TargetGroups, func(t tupleJSON) bool { return t.Weight == nil }) {
		return errors.New("weight must be set when route to multiple target groups")
	}
	return nil
}

// action builds what a backend of the Ingress stands for; ok is false when the
// controller fails over it. field is the backend's path.
func (g *group) action(m *member, field string, b networkingv1.IngressBackend) (a action, ok bool) {
	at := m.at(field + ".service")
	if b.Service == nil {
		g.failIngress(CodeMissingService, m, m.at(field), "service: {name: NAME, port: {number: 80}}", `missing required "service" field`)
		return action{}, false
	}
	port := b.Service.Port
	if port.Name == useAnnotation {
		return g.annotatedAction(m, at, b.Service.Name)
	}
	return g.forward(m, at, []tupleJSON{{ServiceName: &b.Service.Name, ServicePort: &servicePort{port.Name, int(port.Number)}}})
}

// annotatedAction builds what actions.NAME says.
func (g *group) annotatedAction(m *member, at where, name string) (action, bool) {
	s, ok := m.get("actions." + name)
	if !ok {
		g.fail(CodeMissingAction, at, "add the annotation "+prefix+"actions."+name, "there is no annotation %sactions.%s: the rule answers 503", prefix, name)
		return unavailable(noActionBody), true
	}
	var parsed actionJSON
	unknown, err := s.decode(&parsed)
	if err == nil {
		err = parsed.validate()
	}
	if err != nil {
		g.failIngress(CodeBadAction, m, s.where, `'{"type": "redirect", "redirectConfig": {"protocol": "HTTPS", "port": "443", "statusCode": "HTTP_301"}}'`, "%v", err)
		return action{}, false
	}
	if unknown != "" {
		g.warn(CodeUnreadAnnotation, s.where, "", "%s: the controller ignores it", unknown)
	}
	switch parsed.Type {
	case "redirect":
		return action{redirect: parsed.RedirectConfig, fault: parsed.RedirectConfig.fault()}, true
	case "fixed-response":
		response, fault := parsed.FixedResponseConfig.plan()
		return action{response: response, fault: fault}, true
	}
	if parsed.ForwardConfig == nil {
		g.refuse(s.where, "name a Service with forwardConfig", "a forward to a target group outside the cluster")
		return action{}, false
	}
	if st := parsed.ForwardConfig.TargetGroupStickinessConfig; st != nil && st.Enabled != nil && *st.Enabled {
		g.refuse(s.where, `"enabled": false`, "targetGroupStickinessConfig")
	}
	return g.forward(m, s.where, parsed.ForwardConfig.TargetGroups)
}

// forward builds a forward to Services. Only where there is one alone does the
// controller put up with its absence. LBC: loadBackendServices
func (g *group) forward(m *member, at where, tuples []tupleJSON) (action, bool) {
	var a action
	ok := true
	if n := len(tuples); n == 0 || n > 5 {
		a.fault = fmt.Sprintf("A forward action must have 1 to 5 target groups, not %d", n)
	}
	for _, t := range tuples {
		if t.ServiceName == nil {
			g.refuse(at, "name a Service", "a forward to a target group outside the cluster")
			ok = false
			continue
		}
		name := *t.ServiceName
		svc := g.world.Service(m.Namespace, name)
		if svc == nil {
			var names []string
			for _, s := range g.world.Services {
				if s.Namespace == m.Namespace {
					names = append(names, s.Name)
				}
			}
			hint := didYouMean(name, names, "a backend is a Service of the Ingress's own namespace, "+m.Namespace)
			if len(tuples) == 1 {
				g.fail(CodeMissingService, at, hint, "Service %s/%s does not exist: the rule answers 503", m.Namespace, name)
				return unavailable(noServiceBody), true
			}
			g.failIngress(CodeMissingService, m, at, hint, "Service %q not found", name)
			ok = false
			continue
		}
		cluster, made := g.targetGroup(m, at, svc, *t.ServicePort)
		if !made {
			ok = false
			continue
		}
		weight := 1
		if t.Weight != nil {
			if weight = int(*t.Weight); weight < 0 || weight > 999 {
				a.fault = fmt.Sprintf("The weight of a target group must be from 0 to 999, not %d", weight)
			}
		}
		a.forward = append(a.forward, plan.WeightedCluster{
			Cluster: cluster, Weight: weight, Because: fmt.Sprintf("%s port %s", svc, t.ServicePort), Source: at.source(),
		})
	}
	return a, ok
}

// unavailable is the controller's answer for what is not there.
func unavailable(body string) action {
	return action{response: &plan.FixedResponse{Status: 503, ContentType: "text/plain", Body: body}}
}

// What the AWS API takes. botocore: elbv2 FixedResponseActionConfig
var (
	fixedStatus  = regexp.MustCompile(`^[245]\d\d$`)
	contentTypes = []string{"text/plain", "text/css", "text/html", "application/javascript", "application/json"}
)

const maxMessageBody = 1024

func (r responseJSON) plan() (response *plan.FixedResponse, fault string) {
	response = &plan.FixedResponse{}
	if r.ContentType != nil {
		response.ContentType = *r.ContentType
	}
	if r.MessageBody != nil {
		response.Body = *r.MessageBody
	}
	response.Status, _ = strconv.Atoi(r.StatusCode)
	switch {
	case !fixedStatus.MatchString(r.StatusCode):
		fault = fmt.Sprintf("The statusCode of a fixed response must be 2XX, 4XX or 5XX, not %s", r.StatusCode)
	case r.ContentType != nil && !slices.Contains(contentTypes, *r.ContentType):
		fault = fmt.Sprintf("The contentType of a fixed response must be one of %v, not %s", contentTypes, *r.ContentType)
	case len(response.Body) > maxMessageBody:
		fault = fmt.Sprintf("The messageBody of a fixed response has at most %d bytes, not %d", maxMessageBody, len(response.Body))
	}
	return response, fault
}

var redirectStatus = map[string]int{"HTTP_301": 301, "HTTP_302": 302}

// fault is what the AWS API refuses on any listener.
func (r *redirectJSON) fault() string {
	unchanged := func(field *string, same string) bool { return field == nil || *field == same }
	switch {
	case redirectStatus[r.StatusCode] == 0:
		return fmt.Sprintf("The statusCode of a redirect must be HTTP_301 or HTTP_302, not %s", r.StatusCode)
	case r.Protocol != nil && !slices.Contains([]string{protocolHTTP, protocolHTTPS, "#{protocol}"}, *r.Protocol):
		return fmt.Sprintf("The protocol of a redirect must be HTTP, HTTPS or #{protocol}, not %s", *r.Protocol)
	case unchanged(r.Host, "#{host}") && unchanged(r.Path, "/#{path}") && unchanged(r.Port, "#{port}") && unchanged(r.Protocol, "#{protocol}"):
		return "A redirect must change the protocol, the host, the port or the path"
	}
	return ""
}

// plan fills in what the redirect does not say: it stays as it is.
// ALB-UG: load-balancer-listeners.md
func (r *redirectJSON) plan() *plan.Redirect {
	or := func(field *string, same string) string {
		if field == nil {
			return same
		}
		return *field
	}
	return &plan.Redirect{
		Protocol: or(r.Protocol, "#{protocol}"), Host: or(r.Host, "#{host}"), Port: or(r.Port, "#{port}"),
		Path: or(r.Path, "/#{path}"), Query: or(r.Query, "#{query}"), Status: redirectStatus[r.StatusCode],
	}
}

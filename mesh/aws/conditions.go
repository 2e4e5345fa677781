package aws

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"hoplab.dev/plan"
)

// conditionJSON is one entry of conditions.NAME.
// LBC: pkg/ingress/config_types.go RuleCondition
type conditionJSON struct {
	Field                   string       `json:"field"`
	HostHeaderConfig        *valuesJSON  `json:"hostHeaderConfig"`
	HTTPHeaderConfig        *headerJSON  `json:"httpHeaderConfig"`
	HTTPRequestMethodConfig *listJSON    `json:"httpRequestMethodConfig"`
	PathPatternConfig       *valuesJSON  `json:"pathPatternConfig"`
	QueryStringConfig       *queriesJSON `json:"queryStringConfig"`
	SourceIPConfig          *listJSON    `json:"sourceIPConfig"`
}

type valuesJSON struct {
	RegexValues []string `json:"regexValues,omitempty"`
	Values      []string `json:"values,omitempty"`
}

type headerJSON struct {
	HTTPHeaderName string   `json:"httpHeaderName"`
	RegexValues    []string `json:"regexValues,omitempty"`
	Values         []string `json:"values,omitempty"`
}

type listJSON struct {
	Values []string `json:"values"`
}

type queriesJSON struct {
	Values []queryJSON `json:"values"`
}

type queryJSON struct {
	Key   *string `json:"key,omitempty"`
	Value string  `json:"value"`
}

// validate gives the controller's own words.
func (c conditionJSON) validate() error {
	check := func(config string, present bool, err error) error {
		switch {
		case !present:
			return errors.New("missing " + config)
		case err != nil:
			return fmt.Errorf("invalid %s: %w", config, err)
		}
		return nil
	}
	switch c.Field {
	case "host-header":
		return check("hostHeaderConfig", c.HostHeaderConfig != nil, c.HostHeaderConfig.validate())
	case "path-pattern":
		return check("pathPatternConfig", c.PathPatternConfig != nil, c.PathPatternConfig.validate())
	case "http-header":
		var values *valuesJSON
		if h := c.HTTPHeaderConfig; h != nil {
			values = &valuesJSON{h.RegexValues, h.Values}
		}
		return check("httpHeaderConfig", c.HTTPHeaderConfig != nil, values.validate())
	case "http-request-method":
		return check("httpRequestMethodConfig", c.HTTPRequestMethodConfig != nil, c.HTTPRequestMethodConfig.validate())
	case "source-ip":
		return check("sourceIPConfig", c.SourceIPConfig != nil, c.SourceIPConfig.validate())
	case "query-string":
		return check("queryStringConfig", c.QueryStringConfig != nil, c.QueryStringConfig.validate())
	}
	return nil
}

func (v *valuesJSON) validate() error {
	switch {
	case v == nil:
	case len(v.Values)+len(v.RegexValues) == 0:
		return errors.New("values or regexValues must be specified")
	case len(v.Values) > 0 && len(v.RegexValues) > 0:
		return errors.New("precisely one of values and regexValues can be specified")
	}
	return nil
}

func (l *listJSON) validate() error {
	if l != nil && len(l.Values) == 0 {
		return errors.New("values cannot be empty")
	}
	return nil
}

func (q *queriesJSON) validate() error {
	if q == nil {
		return nil
	}
	if len(q.Values) == 0 {
		//lint:ignore ST1005 the controller's own text
		return errors.New("Values cannot be empty")
	}
	if slices.ContainsFunc(q.Values, func(v queryJSON) bool { return v.Value == "" }) {
		return errors.New("value cannot be empty")
	}
	return nil
}

// conditions reads conditions.NAME. The admission webhook refuses a wrong one.
// LBC: webhooks/networking/ingress_validator.go checkIngressAnnotationConditions
func (g *group) conditions(m *member, name string) (setting, []conditionJSON) {
	s, ok := m.get("conditions." + name)
	if !ok {
		return setting{}, nil
	}
	var out []conditionJSON
	unknown, err := s.decode(&out)
	if err != nil {
		g.refuseCondition(s, err.Error())
		return s, nil
	}
	if unknown != "" {
		g.warn(CodeUnreadAnnotation, s.where, "", "%s: the controller ignores it", unknown)
	}
	for _, c := range out {
		if err := c.validate(); err != nil {
			g.refuseCondition(s, fmt.Sprintf("ignoring Ingress %s since invalid %s%s annotation: %v", m.key(), prefix, s.suffix, err))
			return s, nil
		}
	}
	return s, out
}

func (g *group) refuseCondition(s setting, message string) {
	d := s.diagnostic(plan.Error, CodeBadCondition, `'[{"field": "http-header", "httpHeaderConfig": {"httpHeaderName": "X-Env", "values": ["test"]}}]'`, message)
	d.Refused = true
	g.say(d)
	g.failed = true
}

// addConditions puts the conditions of an annotation into a match: hosts and
// paths beside those of the rule (one must hold), the others on their own (all
// must). It gives what the AWS API refuses about them.
// LBC: model_build_listener_rules.go buildRuleConditions
func (g *group) addConditions(match *plan.RouteMatch, s setting, conditions []conditionJSON) (fault string) {
	regex := func(values []string) {
		if len(values) > 0 {
			g.refuse(s.where, "use values with * and ?", "regexValues")
		}
	}
	for _, c := range conditions {
		switch c.Field {
		case "host-header":
			regex(c.HostHeaderConfig.RegexValues)
			match.HostHeader = append(match.HostHeader, c.HostHeaderConfig.Values...)
		case "path-pattern":
			regex(c.PathPatternConfig.RegexValues)
			match.PathPattern = append(match.PathPattern, c.PathPatternConfig.Values...)
		case "http-header":
			regex(c.HTTPHeaderConfig.RegexValues)
			match.Headers = append(match.Headers, plan.HeaderPattern{Name: c.HTTPHeaderConfig.HTTPHeaderName, Values: c.HTTPHeaderConfig.Values})
		case "http-request-method":
			if match.Methods != nil {
				fault = "A rule can only have one 'http-request-method' condition"
			}
			match.Methods = append(match.Methods, c.HTTPRequestMethodConfig.Values...)
		case "source-ip":
			if match.SourceIPs != nil {
				fault = "A rule can only have one 'source-ip' condition"
			}
			match.SourceIPs = append(match.SourceIPs, c.SourceIPConfig.Values...)
		case "query-string":
			var alternatives []plan.QueryPattern
			for _, q := range c.QueryStringConfig.Values {
				p := plan.QueryPattern{Value: q.Value}
				if q.Key != nil {
					p.Key = *q.Key
				}
				alternatives = append(alternatives, p)
			}
			match.Queries = append(match.Queries, alternatives)
		default: // the controller passes over a field that it does not know
			g.warn(CodeUnreadAnnotation, s.where, "one of http-header, http-request-method, host-header, path-pattern, query-string, source-ip",
				"the controller ignores a condition on field %q", c.Field)
		}
	}
	return fault
}

// because says a rule's conditions as the console does.
func because(match plan.RouteMatch) string {
	var parts []string
	add := func(what string, values []string) {
		if len(values) > 0 {
			parts = append(parts, what+" "+strings.Join(values, " or "))
		}
	}
	add("host-header", match.HostHeader)
	add("path-pattern", match.PathPattern)
	for _, h := range match.Headers {
		add("http-header "+h.Name+":", h.Values)
	}
	add("http-request-method", match.Methods)
	for _, alternatives := range match.Queries {
		var values []string
		for _, q := range alternatives {
			if q.Key != "" {
				values = append(values, q.Key+"="+q.Value)
			} else {
				values = append(values, q.Value)
			}
		}
		add("query-string", values)
	}
	add("source-ip", match.SourceIPs)
	return strings.Join(parts, ", ")
}

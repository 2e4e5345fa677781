package proxy

import (
	"fmt"
	"net/http"

	"hoplab.dev/plan"
)

// headerChanges are plan.HeaderChanges made ready.
type headerChanges struct{ request, response *headerOperations }

// headerOperations are done as Envoy's HeaderParser does: first what is to go
// is removed, then all new values are worked out, then those that overwrite
// are set, and the others added. A value that comes out empty is left away.
// Envoy: source/common/router/header_parser.cc HeaderParser::evaluateHeaders
type headerOperations struct {
	remove   []string
	set, add []headerField
}

type headerField struct {
	name  string // canonical; ":authority" for Host
	value format
}

func newHeaderChanges(p plan.HeaderChanges) (c headerChanges, err error) {
	if c.request, err = newHeaderOperations(p.Request); err != nil {
		return c, err
	}
	c.response, err = newHeaderOperations(p.Response)
	return c, err
}

// newHeaderOperations gives nil for none.
func newHeaderOperations(p *plan.HeaderOperations) (*headerOperations, error) {
	if p == nil {
		return nil, nil
	}
	ops := &headerOperations{}
	for _, name := range p.Remove {
		ops.remove = append(ops.remove, headerName(name))
	}
	for _, list := range []struct {
		from []plan.HeaderField
		to   *[]headerField
	}{{p.Set, &ops.set}, {p.Add, &ops.add}} {
		for _, f := range list.from {
			value, err := parseFormat(f.Value)
			if err != nil {
				return nil, fmt.Errorf("header %s: %w", f.Name, err)
			}
			*list.to = append(*list.to, headerField{headerName(f.Name), value})
		}
	}
	return ops, nil
}

// apply changes a header; of requests also their authority. It may be called
// on nil. Res is nil on the way there.
func (ops *headerOperations) apply(h http.Header, x *exchange, res *response) {
	if ops == nil {
		return
	}
	for _, name := range ops.remove {
		delete(h, name)
	}
	values := make([]string, 0, 8)
	for _, f := range ops.set {
		values = append(values, f.value.text(x, res))
	}
	for _, f := range ops.add {
		values = append(values, f.value.text(x, res))
	}
	for i, f := range ops.set {
		switch value := values[i]; {
		case value == "":
		case f.name == ":authority":
			x.req.authority = value
		default:
			h[f.name] = []string{value}
		}
	}
	for i, f := range ops.add {
		if value := values[len(ops.set)+i]; value != "" && f.name != ":authority" {
			h[f.name] = append(h[f.name][:len(h[f.name]):len(h[f.name])], value)
		}
	}
}

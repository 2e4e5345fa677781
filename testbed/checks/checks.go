// Package checks runs a scenario's checks: a request each, and what must come
// of it, compared with the passport by its field names.
package checks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/passport"
	"hoplab.dev/testbed/control"
)

// Schema names the JSON form of Report.
const Schema = "hoplab.dev/test/v1"

// Report is what came of a scenario's checks.
type Report struct {
	Schema   string   `json:"schema"`
	Scenario string   `json:"scenario"`
	Passed   int      `json:"passed"`
	Failed   int      `json:"failed"`
	Checks   []Result `json:"checks"`
}

// Result is what came of one check.
type Result struct {
	Name        string             `json:"name"`
	OK          bool               `json:"ok"`
	Differences []Difference       `json:"differences"`
	Passport    *passport.Passport `json:"passport,omitempty"` // absent: no request could be sent
}

// Asker sends requests: the control API's client.
type Asker interface {
	Trace(ctx context.Context, r control.TraceRequest) (control.TraceResponse, error)
	CertPEM(ctx context.Context, name string, withKey bool) ([]byte, error)
}

// Run runs the checks in order. Fresh: no upstream connection is reused, so
// that each check sees handshakes of its own.
func Run(ctx context.Context, scenario string, checks []manifest.ScenarioCheck, ask Asker) Report {
	r := Report{Schema: Schema, Scenario: scenario, Checks: []Result{}}
	for _, c := range checks {
		one := run(ctx, c, ask)
		if one.OK {
			r.Passed++
		} else {
			r.Failed++
		}
		r.Checks = append(r.Checks, one)
	}
	return r
}

func run(ctx context.Context, c manifest.ScenarioCheck, ask Asker) Result {
	out := Result{Name: c.Name, Differences: []Difference{}}
	request, err := Request(ctx, c.Request, ask)
	var res control.TraceResponse
	if err == nil {
		res, err = ask.Trace(ctx, request)
	}
	if err != nil {
		out.Differences = append(out.Differences, Difference{"request", "a request that can be sent", err.Error()})
		return out
	}
	out.Passport = &res.Passport
	out.Differences = append(out.Differences, differences(c.Expect, res)...)
	out.OK = len(out.Differences) == 0
	return out
}

// Request is what a check asks, made ready: what it names is looked up.
func Request(ctx context.Context, q manifest.ScenarioRequest, ask Asker) (control.TraceRequest, error) {
	r := control.TraceRequest{URL: q.URL, Method: q.Method, From: q.From, Via: q.Via, TLSMax: q.TLSMax, Fresh: true, SNI: q.SNI, ALPN: q.ALPN, Insecure: q.Insecure}
	names := make([]string, 0, len(q.Headers))
	for name := range q.Headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		r.Headers = append(r.Headers, [2]string{name, q.Headers[name]})
	}
	if q.Body != "" {
		r.Body = []byte(q.Body)
	}
	if q.CA != "" {
		pem, err := ask.CertPEM(ctx, q.CA, false)
		if err != nil {
			return r, fmt.Errorf("ca: %w", err)
		}
		r.CAPEM = pem
	}
	r.ClientCert = q.ClientCert
	return r, nil
}

// differences compares only what is expected.
func differences(e manifest.ScenarioExpect, res control.TraceResponse) []Difference {
	var ds []Difference
	if e.Status != nil && *e.Status != res.Status {
		seen := any(res.Status)
		if res.Status == 0 {
			seen = absent
		}
		ds = append(ds, Difference{"status", *e.Status, seen})
	}
	for name, want := range e.Headers {
		values, there := res.Headers[http.CanonicalHeaderKey(name)]
		switch got := strings.Join(values, ", "); {
		case !there:
			ds = append(ds, Difference{"headers." + name, want, absent})
		case got != fmt.Sprint(want):
			ds = append(ds, Difference{"headers." + name, want, got})
		}
	}
	slices.SortFunc(ds, func(a, b Difference) int { return strings.Compare(a.Path, b.Path) })
	if e.Body != nil && !strings.Contains(string(res.Body), *e.Body) {
		ds = append(ds, Difference{"body", *e.Body, string(res.Body[:min(len(res.Body), 200)])})
	}
	if e.Location != nil {
		switch got := res.Headers.Get("Location"); {
		case len(res.Headers.Values("Location")) == 0:
			ds = append(ds, Difference{"location", *e.Location, absent})
		case got != *e.Location:
			ds = append(ds, Difference{"location", *e.Location, got})
		}
	}
	doc, err := decoded(res.Passport)
	if err != nil {
		return append(ds, Difference{"passport", "JSON", err.Error()})
	}
	if e.Hops != nil {
		want := make([]any, len(e.Hops))
		for i, h := range e.Hops {
			want[i] = h
		}
		hops, _ := doc["hops"].([]any)
		if len(hops) != len(want) {
			ds = append(ds, Difference{"hops", fmt.Sprintf("%d hops", len(want)), fmt.Sprintf("%d hops: %s", len(hops), passport.Locks(res.Passport))})
		} else {
			ds = append(ds, compare("hops", want, hops)...)
		}
	}
	if e.Ended != nil {
		seen := absent
		if i := res.Passport.Verdict.Ended; i != nil {
			hops, _ := doc["hops"].([]any)
			hop, _ := hops[*i].(map[string]any)
			seen = hop["ended"]
		}
		ds = append(ds, compare("ended", map[string]any(e.Ended), seen)...)
	}
	return ds
}

// decoded is the passport as its JSON has it.
func decoded(p passport.Passport) (map[string]any, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	var doc map[string]any
	return doc, json.Unmarshal(b, &doc)
}

package checks

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/passport"
	"hoplab.dev/testbed/control"
)

// answers is an Asker that has one answer, and keeps what it was asked.
type answers struct {
	response control.TraceResponse
	err      error
	asked    control.TraceRequest
}

func (a *answers) Trace(_ context.Context, r control.TraceRequest) (control.TraceResponse, error) {
	a.asked = r
	return a.response, a.err
}

func (a *answers) CertPEM(_ context.Context, name string, withKey bool) ([]byte, error) {
	if name == "mesh" && !withKey {
		return []byte("roots"), nil
	}
	return nil, errors.New("secret " + name + " not found")
}

func ptr[T any](v T) *T { return &v }

func TestRun(t *testing.T) {
	good := control.TraceResponse{
		Status: 301, Headers: http.Header{"Server": {"awselb/2.0"}, "Location": {"https://x/"}, "Via": {"a", "b"}}, Body: []byte("<html>moved</html>"),
		Passport: passport.Passport{
			Hops: []passport.Hop{
				{From: passport.Party{Kind: "client", Name: "client"}, To: passport.Party{Kind: "edge", Name: "alb/a/b"}, Lock: passport.Verified},
				{From: passport.Party{Kind: "edge", Name: "alb/a/b"}, To: passport.Party{Kind: "gateway", Name: "gateway/a/b"}, Ended: &passport.Ended{Flag: "NR", Detail: "route_not_found"}},
			},
			Verdict: passport.Verdict{Ended: ptr(1)},
		},
	}
	for _, test := range []struct {
		name   string
		expect manifest.ScenarioExpect
		want   []string
	}{
		{"nothing", manifest.ScenarioExpect{}, nil},
		{"status", manifest.ScenarioExpect{Status: ptr(301)}, nil},
		{"another status", manifest.ScenarioExpect{Status: ptr(200)}, []string{`status: expected 200, seen 301`}},
		{"header, in whatever case", manifest.ScenarioExpect{Headers: map[string]any{"server": "awselb/2.0"}}, nil},
		{"two values", manifest.ScenarioExpect{Headers: map[string]any{"via": "a, b"}}, nil},
		{"headers that are not there", manifest.ScenarioExpect{Headers: map[string]any{"x-b": "1", "server": "nginx", "x-a": ""}},
			[]string{`headers.server: expected "nginx", seen "awselb/2.0"`, `headers.x-a: expected "", seen (absent)`, `headers.x-b: expected "1", seen (absent)`}},
		{"body", manifest.ScenarioExpect{Body: ptr("moved")}, nil},
		{"another body", manifest.ScenarioExpect{Body: ptr("Moved")}, []string{`body: expected "Moved", seen "<html>moved</html>"`}},
		{"location", manifest.ScenarioExpect{Location: ptr("https://x/")}, nil},
		{"a part of the location", manifest.ScenarioExpect{Location: ptr("https://x")}, []string{`location: expected "https://x", seen "https://x/"`}},
		{"hops", manifest.ScenarioExpect{Hops: []map[string]any{{"lock": "verified"}, {"to": "gateway"}}}, nil},
		{"fewer hops", manifest.ScenarioExpect{Hops: []map[string]any{{}}}, []string{`hops: expected "1 hops", seen "2 hops: verified, -"`}},
		{"no hops", manifest.ScenarioExpect{Hops: []map[string]any{}}, []string{`hops: expected "0 hops", seen "2 hops: verified, -"`}},
		{"another hop", manifest.ScenarioExpect{Hops: []map[string]any{{}, {"lock": "mutual"}}}, []string{`hops[1].lock: expected "mutual", seen (absent)`}},
		{"ended", manifest.ScenarioExpect{Ended: map[string]any{"flag": "NR"}}, nil},
		{"ended otherwise", manifest.ScenarioExpect{Ended: map[string]any{"flag": "UF"}}, []string{`ended.flag: expected "UF", seen "NR"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			ask := &answers{response: good}
			r := Run(t.Context(), "s", []manifest.ScenarioCheck{{Name: "one", Request: manifest.ScenarioRequest{URL: "https://x/"}, Expect: test.expect}}, ask)
			require.Len(t, r.Checks, 1)
			var got []string
			for _, d := range r.Checks[0].Differences {
				got = append(got, d.String())
			}
			assert.Equal(t, test.want, got)
			assert.Equal(t, len(test.want) == 0, r.Checks[0].OK)
			assert.Equal(t, 1, r.Passed+r.Failed)
			assert.Equal(t, len(test.want) == 0, r.Passed == 1)
			assert.NotNil(t, r.Checks[0].Passport)
			assert.True(t, ask.asked.Fresh)
		})
	}
}

// TestRunAbsent: what no response came for, and what did not end.
func TestRunAbsent(t *testing.T) {
	ask := &answers{response: control.TraceResponse{Passport: passport.Passport{Hops: []passport.Hop{}}}}
	r := Run(t.Context(), "s", []manifest.ScenarioCheck{{Name: "one", Expect: manifest.ScenarioExpect{
		Status: ptr(200), Body: ptr("x"), Location: ptr("/"), Ended: map[string]any{"flag": "NR"},
	}}}, ask)
	var got []string
	for _, d := range r.Checks[0].Differences {
		got = append(got, d.String())
	}
	assert.Equal(t, []string{
		`status: expected 200, seen (absent)`, `body: expected "x", seen ""`, `location: expected "/", seen (absent)`, `ended: expected {"flag":"NR"}, seen (absent)`,
	}, got)
}

// TestRequest: each field of a check's request is asked for.
func TestRequest(t *testing.T) {
	ask := &answers{}
	q := manifest.ScenarioRequest{
		URL: "https://x/", Method: "PUT", Headers: map[string]string{"b": "2", "a": "1"}, Body: "body",
		From: "netbox/netbox-0", Via: "gateway/a/b", ClientCert: "netbox/client", TLSMax: "1.2",
		SNI: ptr(""), ALPN: []string{}, Insecure: true, CA: "mesh",
	}
	Run(t.Context(), "s", []manifest.ScenarioCheck{{Name: "one", Request: q}}, ask)
	assert.Equal(t, control.TraceRequest{
		URL: "https://x/", Method: "PUT", Headers: [][2]string{{"a", "1"}, {"b", "2"}}, Body: []byte("body"),
		From: "netbox/netbox-0", Via: "gateway/a/b", TLSMax: "1.2", Fresh: true, ClientCert: "netbox/client",
		SNI: ptr(""), ALPN: []string{}, Insecure: true, CAPEM: []byte("roots"),
	}, ask.asked)

	q.CA = "netbox/nosuch"
	r := Run(t.Context(), "s", []manifest.ScenarioCheck{{Name: "one", Request: q}}, ask)
	assert.Equal(t, 1, r.Failed)
	assert.Equal(t, `request: expected "a request that can be sent", seen "ca: secret netbox/nosuch not found"`, r.Checks[0].Differences[0].String())
	assert.Nil(t, r.Checks[0].Passport)

	r = Run(t.Context(), "s", []manifest.ScenarioCheck{{Name: "one"}, {Name: "two"}}, &answers{err: errors.New("no such node")})
	assert.Equal(t, 2, r.Failed)
}

package proxy

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// chainOfFour is client -> ALB -> gateway -> sidecar -> app: verified,
// encrypted, mutual, plaintext.
type chainOfFour struct {
	*lab
	alb, gw, side plan.Node
	client        *Client
	tls           *plan.ClientTLS // of the client
}

func newChainOfFour(l *lab, protocol string) *chainOfFour {
	f := &chainOfFour{lab: l}
	acm := newAuthority(l, "ACM")
	l.certs.believe(plan.ACMTrust, acm)
	l.certs.put("acm/arn", acm.leaf("a.example.com"))
	f.alb = albAt(443)
	f.alb.Listeners = []plan.Listener{tlsListening(443)}
	f.alb.Listeners[0].FilterChains[0].TLS = &plan.ServerTLS{Certificates: []string{"acm/arn"}, Default: "acm/arn", ALPN: []string{"h2", "http/1.1"}}
	back := plan.Endpoint{Node: "gateway/ns/gw", Address: plan.Address{Pod: "gw", Port: 443}, TLS: &plan.ClientTLS{Why: "an ALB never verifies its targets"}}
	f.alb.Clusters = []plan.Cluster{clusterOf("c", back)}
	f.alb.Clusters[0].Protocol = protocol

	gw, _ := gatewayTLS(l)
	side, mesh := strict(l)
	gw.Clusters = []plan.Cluster{clusterOf("c", toSidecar(l, mesh))}
	if protocol == "h2" {
		gw.Clusters[0].Protocol = "h2"
		gw.Clusters[0].Endpoints[0].TLS.ALPN = []string{"istio-h2", "istio", "h2"}
	}
	f.gw = gw
	f.side = side
	f.side.Clusters[0].Endpoints = []plan.Endpoint{{Address: plan.Address{Pod: "app", Port: 80, Private: true}}} // none of ours

	c, err := NewClient("client", l.env())
	require.NoError(l, err)
	f.client = c
	l.Cleanup(func() { assert.NoError(l, c.Close(context.Background())) })
	f.tls = &plan.ClientTLS{Trust: plan.ACMTrust, ServerName: "a.example.com", VerifyName: "a.example.com", ALPN: []string{protocol, "http/1.1"}}
	return f
}

func (f *chainOfFour) start() {
	f.node(f.side)
	f.node(f.gw)
	f.node(f.alb)
}

// ask sends a request and waits for its passport.
func (f *chainOfFour) ask(path, body string) (*ClientResponse, passport.Passport) {
	f.Helper()
	ctx, cancel := timeout(patience)
	defer cancel()
	r := ClientRequest{
		To: plan.Address{Pod: "alb", Port: 443}, Peer: f.alb.Name, TLS: f.tls,
		Method: "GET", Host: "a.example.com", Path: path, Header: http.Header{"User-Agent": {"test"}},
	}
	if body != "" {
		r.Method, r.Body = "POST", []byte(body)
	}
	res, root, err := f.client.Do(ctx, r, 1<<20)
	if res == nil {
		require.Error(f, err)
	}
	p, err := f.recorder.Wait(ctx, root)
	require.NoError(f, err)
	require.True(f, p.Complete(), "%v", p.Missing())
	return res, p
}

func TestPassportOfFourHops(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			l := newLab(t)
			l.taps = map[string][]byte{}
			f := newChainOfFour(l, protocol)
			l.app("app", 80, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "answer-text ")
				_, _ = io.Copy(w, r.Body)
			})
			f.start()
			for i := range 2 { // the second over the connections of the first
				res, p := f.ask("/request-text", "body-text")
				require.Equal(t, 200, res.Status)
				assert.Equal(t, "answer-text body-text", string(res.Body))
				require.Len(t, p.Hops, 4)
				from := []string{"client", f.alb.Name, f.gw.Name, f.side.Name, l.addr("app", 80)}
				for k, h := range p.Hops {
					assert.Equal(t, []passport.Lock{passport.Verified, passport.Encrypted, passport.Mutual, passport.Plaintext}[k], h.Lock)
					assert.Equal(t, from[k], h.From.Name)
					assert.Equal(t, from[k+1], h.To.Name)
					assert.Equal(t, 200, h.Status)
					assert.Nil(t, h.Ended)
					assert.Equal(t, 1, h.Attempt)
					assert.EqualValues(t, len("body-text"), h.Bytes.Sent, "hop %d", k)
					assert.EqualValues(t, len("answer-text body-text"), h.Bytes.Received, "hop %d", k)
					if k == 0 {
						assert.Nil(t, h.Parent)
						assert.False(t, h.Connection.Reused, "a client's own")
						continue
					}
					assert.Equal(t, k-1, *h.Parent)
					assert.Equal(t, i == 1, h.Connection.Reused, "hop %d", k)
					assert.Equal(t, i+1, h.Connection.Request)
					if k < 3 {
						assert.Equal(t, i == 1, h.Micros.Handshake == 0)
					}
				}
				tls := p.Hops[0].TLS
				assert.Equal(t, "a.example.com", *tls.SNI.Sent)
				assert.Equal(t, "a.example.com", *tls.SNI.Seen)
				assert.True(t, *tls.Server.Verified)
				assert.Equal(t, "full", tls.Handshake)
				tls = p.Hops[1].TLS
				assert.Empty(t, *tls.SNI.Sent, "an ALB sends none")
				assert.Empty(t, *tls.SNI.Seen)
				assert.False(t, *tls.Server.Verified)
				assert.Equal(t, "an ALB never verifies its targets", tls.Server.Why)
				tls = p.Hops[2].TLS
				assert.Equal(t, "outbound_.80_._.app.ns.svc.cluster.local", *tls.SNI.Seen)
				assert.Equal(t, []string{"spiffe://cluster.local/ns/ns/sa/app"}, tls.Server.URIs)
				assert.Equal(t, []string{"spiffe://cluster.local/ns/istio-system/sa/gw"}, tls.Client.URIs)
				assert.True(t, *tls.Client.Verified)
				assert.Nil(t, p.Hops[3].TLS)
				assert.Equal(t, "pod", p.Hops[3].Scope)
				assert.Equal(t, protocol, p.Hops[2].Protocol)
				assert.Equal(t, "http/1.1", p.Hops[3].Protocol)
			}
			// The bytes of each hop, at its socket.
			l.mu.Lock()
			defer l.mu.Unlock()
			for at, plaintext := range map[string]bool{"alb:443": false, "gw:443": false, "side:8080": false, "app:80": true} {
				require.NotEmpty(t, l.taps[at], at)
				for _, text := range []string{"/request-text", "body-text", "answer-text", "a.example.com\r\n"} {
					assert.Equal(t, plaintext, bytes.Contains(l.taps[at], []byte(text)), "%s at %s", text, at)
				}
			}
		})
	}
}

func TestPassportsOfFailures(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(f *chainOfFour)
		status int // at the client; 0: none
		hops   int
		failed int // index of the hop that failed
		flag   string
	}{
		{"the SNI trap", func(f *chainOfFour) {
			f.gw.Listeners = []plan.Listener{tlsListening(443, "a.example.com")}
		}, 502, 2, 1, "NR"},
		{"the client trusts another", func(f *chainOfFour) {
			f.certs.believe("other", newAuthority(f, "other"))
			f.tls.Trust = "other"
		}, 0, 1, 0, "-"}, // as the client tells it, who has no flags
		{"no route at the gateway", func(f *chainOfFour) { f.gw.Routes = nil }, 404, 2, 1, "NR"},
		{"another identity", func(f *chainOfFour) {
			f.gw.Clusters[0].Endpoints[0].TLS.SubjectAltNames = []string{"spiffe://cluster.local/ns/x/sa/x"}
		}, 503, 5, 4, "UF"}, // as the gateway tells it: it refused
		{"no app", func(f *chainOfFour) { f.refuse("app", 80) }, 503, 6, 5, "UF"},
		{"no target", func(f *chainOfFour) { f.alb.Clusters[0].Endpoints = nil }, 503, 1, 0, "503"},
		{"no secret", func(f *chainOfFour) { f.gw.Listeners[0].FilterChains[0].TLS.Certificates = []string{"none"} }, 502, 2, 1, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			f := newChainOfFour(l, "http/1.1")
			l.app("app", 80, sayHello)
			c.change(f)
			f.start()
			res, p := f.ask("/", "")
			if c.status == 0 {
				assert.Nil(t, res)
			} else {
				require.NotNil(t, res)
				assert.Equal(t, c.status, res.Status)
			}
			require.Len(t, p.Hops, c.hops)
			require.NotNil(t, p.Verdict.Ended)
			assert.Equal(t, c.failed, *p.Verdict.Ended)
			ended := p.Hops[c.failed].Ended
			require.NotNil(t, ended)
			assert.NotEmpty(t, ended.Message)
			if c.flag != "" {
				assert.Equal(t, c.flag, ended.Flag)
			}
			for i, h := range p.Hops {
				if i > 0 && h.Attempt > 1 {
					assert.Equal(t, p.Hops[i-1].Attempt+1, h.Attempt, "retries are hops")
					assert.Equal(t, *p.Hops[i-1].Parent, *h.Parent)
				}
			}
		})
	}
}

// TestEndsAgree: 100 concurrent requests over shared connections, and every end
// fits its partner.
func TestEndsAgree(t *testing.T) {
	for _, protocol := range []string{"http/1.1", "h2"} {
		t.Run(protocol, func(t *testing.T) {
			l := newLab(t)
			f := newChainOfFour(l, protocol)
			l.app("app", 80, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) })
			f.start()
			const requests = 100
			passports := make([]passport.Passport, requests)
			var all sync.WaitGroup
			for i := range requests {
				all.Go(func() {
					path := fmt.Sprintf("/%d", i)
					res, p := f.ask(path, "")
					assert.Equal(t, path, string(res.Body))
					passports[i] = p
				})
			}
			all.Wait()
			for i, p := range passports {
				require.Len(t, p.Hops, 4)
				assert.Equal(t, fmt.Sprintf("https://a.example.com/%d", i), p.Request.URL)
				for _, h := range p.Hops {
					assert.Equal(t, 200, h.Status)
				}
			}
			l.ends.mu.Lock()
			defer l.ends.mu.Unlock()
			ids, byParent := map[string]passport.RequestEnd{}, map[string]int{}
			ordinals := map[string]map[int]bool{}
			for _, r := range l.ends.requests {
				_, twice := ids[r.ID]
				require.False(t, twice)
				ids[r.ID] = r
				c, known := l.ends.conns[r.Conn]
				require.True(t, known, "the connection of %s", r.ID)
				assert.Equal(t, c.Node, r.Node)
				assert.Equal(t, c.Role, r.Role)
				assert.LessOrEqual(t, r.FirstByte, r.Total)
				if ordinals[r.Conn] == nil {
					ordinals[r.Conn] = map[int]bool{}
				}
				assert.False(t, ordinals[r.Conn][r.Ordinal], "an ordinal comes once")
				ordinals[r.Conn][r.Ordinal] = true
			}
			for _, r := range ids {
				if r.Role == passport.Dialled && r.Parent != "" {
					parent := ids[r.Parent]
					assert.Equal(t, r.Node, parent.Node)
					assert.Equal(t, passport.Accepted, parent.Role)
					assert.Equal(t, parent.Path, r.Path)
					byParent[r.Parent]++
				}
			}
			for parent, n := range byParent {
				assert.Equal(t, 1, n, parent)
			}
			for conn, seen := range ordinals {
				for i := range len(seen) {
					assert.True(t, seen[i+1], "ordinals of %s have no gap", conn)
				}
			}
		})
	}
}

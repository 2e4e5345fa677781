package bench

import (
	"context"
	"fmt"
	"os"

	"hoplab.dev/bench/peers"
	"hoplab.dev/plan"
)

// peer is another program in the place of one of the nodes.
type peer struct {
	chain *peers.Chain
	index int
}

func (p *peer) pid() int { return p.chain.PIDs()[p.index] }

func peerVersion(name string) string { return peers.Version(name) }

// peerAt runs a variant's program in the place of the nodes between client and
// app, and gives where it is asked.
func (r *run) peerAt(ctx context.Context, v *Variant, p *plan.Plan) (plan.Address, error) {
	hops, err := r.peerHops(v, p)
	if err != nil {
		return plan.Address{}, &cannotError{err}
	}
	dir, err := os.MkdirTemp(r.Config, "peer-")
	if err != nil {
		return plan.Address{}, err
	}
	chain, err := peers.Start(ctx, v.Peer, dir, hops)
	if err != nil {
		return plan.Address{}, &cannotError{err}
	}
	r.peers = map[string]*peer{}
	for i, h := range hops {
		r.peers[v.Peer+"/"+h.Name] = &peer{chain, i}
	}
	return plan.Address{Upstream: chain.First()}, nil
}

// peerHops is what the nodes between do, for another program.
func (r *run) peerHops(v *Variant, p *plan.Plan) ([]peers.Hop, error) {
	var hops []peers.Hop
	for i, l := range r.way.legs[:len(r.way.legs)-1] {
		n := p.Node(l.to)
		switch {
		case n.Kind == plan.AppKind:
			return nil, fmt.Errorf("%s asks others itself, and no other program does what it does", l.to)
		case v.RTT > 0:
			return nil, fmt.Errorf("links are emulated by hoplab's nodes alone")
		}
		h := peers.Hop{Name: l.to, Reuse: v.Connections != New, Resume: v.Handshake == Resumed}
		chain := r.way.chainOf(p, l)
		if l.relay {
			return nil, fmt.Errorf("%s carries bytes on unread, and other programs are made to read HTTP", l.to)
		}
		if chain != nil {
			h.Server = r.peerTLS(chain.TLS.Certificates[0], chain.TLS.Trust, &chain.TLS.TLSParameters)
		}
		next := r.way.legs[i+1]
		if c := r.way.clusterOf(p, next); c != nil && len(c.Endpoints) > 0 {
			e := c.Endpoints[0]
			if e.TLS != nil {
				h.Client = r.peerTLS(e.TLS.Certificate, e.TLS.Trust, &e.TLS.TLSParameters)
				h.Client.Name = e.TLS.ServerName
				if e.TLS.VerifyName != "" {
					h.Client.Name = e.TLS.VerifyName
				}
			}
			if i == len(r.way.legs)-2 {
				h.Next = r.Testbed.Address(e.Address)
			}
		}
		hops = append(hops, h)
	}
	if len(hops) == 0 {
		return nil, fmt.Errorf("nobody is between the client and the app")
	}
	return hops, nil
}

func (r *run) peerTLS(certificate, trust string, p *plan.TLSParameters) *peers.TLS {
	var names plan.MaterialNames
	if certificate != "" {
		names.Certificates = []string{certificate}
	}
	if trust != "" {
		names.Trusts = []string{trust}
	}
	b := r.Testbed.Bundle(names)
	t := &peers.TLS{Chain: b.Certificates[certificate].Chain, Key: b.Certificates[certificate].Key, Trust: b.Trusts[trust].Authorities}
	if p.MinVersion == p.MaxVersion {
		t.Version = p.MinVersion
	}
	if len(p.Groups) == 1 {
		t.Group = p.Groups[0]
	}
	return t
}

// peerEnded is why a variant cannot be measured whose program has ended by itself.
func (r *run) peerEnded(v *Variant) error {
	for _, p := range r.peers {
		if err := p.chain.Ended(); err != nil {
			return &cannotError{fmt.Errorf("%s in the place of %w", v.Peer, err)}
		}
	}
	return nil
}

// peerAsserted ends a peer's processes, and refuses a measurement in which they
// did not resume as the variant says. The first handshake of each hop is full.
func (r *run) peerAsserted(v *Variant, rep *repetition) error {
	var chain *peers.Chain
	for _, p := range r.peers {
		chain = p.chain
	}
	r.stopPeers()
	if v.Connections != New {
		return nil
	}
	resumed, full, err := chain.Sessions()
	if err != nil {
		return err
	}
	for i := range resumed {
		switch n := len(rep.samples); {
		case resumed[i]+full[i] < n:
			return fmt.Errorf("%s, process %d: %d connections for %d requests", v.Peer, i+1, resumed[i]+full[i], n)
		case v.Handshake == Full && resumed[i] > 0:
			return fmt.Errorf("%s, process %d: %d handshakes were resumed, and all were to be full", v.Peer, i+1, resumed[i])
		case v.Handshake == Resumed && full[i] > 1:
			return &cannotError{fmt.Errorf("%s, process %d: %d of %d handshakes were not resumed", v.Peer, i+1, full[i], full[i]+resumed[i])}
		}
	}
	return nil
}

// complaint is what another program says of what is wrong, as the end of a
// sentence.
func (r *run) complaint() string {
	for _, p := range r.peers {
		if text := p.chain.Complaint(); text != "" {
			return ": " + text
		}
	}
	return ""
}

// stopPeers ends other programs.
func (r *run) stopPeers() {
	for _, p := range r.peers {
		p.chain.Stop()
	}
	r.peers = nil
}

package control

import (
	"context"
	"net/http"
	"net/netip"

	"hoplab.dev/bench/load"
	"hoplab.dev/certs"
	"hoplab.dev/passport"
	"hoplab.dev/plan"
	"hoplab.dev/proxy"
)

// A node in a process of its own keeps one stream open, by which control tells
// it what to do, as istiod does by xDS. What control wants an answer to has an
// ID; the node replies under it.

// Event is what control tells a node: one of its fields, or nothing, so that
// the node knows that control is there.
type Event struct {
	ID       uint64    `json:"id,omitempty"` // to reply under; 0: no reply is wanted
	Network  *Network  `json:"network,omitempty"`
	Orders   *Orders   `json:"orders,omitempty"`
	Question *Question `json:"question,omitempty"`
	Load     *Load     `json:"load,omitempty"`
	Cancel   uint64    `json:"cancel,omitempty"`  // the Question or Load that nobody waits for any more
	Collect  bool      `json:"collect,omitempty"` // the node is to tell the ends that it has not told yet
	Use      bool      `json:"use,omitempty"`     // the node is to tell what it has used
	// Hold has the node let go of its idle upstream connections, and keep none
	// until it is told to Release the same number, or loses control.
	Hold    uint64 `json:"hold,omitempty"`
	Release uint64 `json:"release,omitempty"`
}

// Orders are what a node is to do.
type Orders struct {
	// Plan is the whole one: a pod may ask anybody.
	Plan         *plan.Plan         `json:"plan"`
	KeyAlgorithm string             `json:"keyAlgorithm"` // of its workload key
	Publish      []plan.Publication `json:"publish,omitempty"`
	// Materials are those that the node's own part of the plan names.
	Materials certs.Bundle `json:"materials"`
}

// Network is where everybody is.
type Network struct {
	Shared bool `json:"shared,omitempty"` // all pods share 127.0.0.1
	// Pods are the addresses in the cluster; of "" the client's. Where a pod has
	// several, the first is one on a network of the node's own.
	Pods    map[string][]netip.Addr `json:"pods"`
	Sockets []Socket                `json:"sockets"`
}

// Socket is what stands for a port of a pod.
type Socket struct {
	Pod   string `json:"pod"`
	Port  int    `json:"port"` // the cluster's
	Where string `json:"where,omitempty"`
	Addr  string `json:"addr"` // host:port to dial
}

// Report is what a node tells of itself.
type Report struct {
	// Addresses are the pod's, with their subnets, where it has a network of its
	// own.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Sockets   []Socket       `json:"sockets,omitempty"` // its own
	Published []Published    `json:"published,omitempty"`
	Health    []TargetHealth `json:"health,omitempty"`
	Leaf      *Leaf          `json:"leaf,omitempty"` // of its workload certificate; nil: not yet, or never
}

// Reply is a node's to an Event.
type Reply struct {
	ID     uint64 `json:"id"`
	Answer Answer `json:"answer,omitzero"` // to a Question
	// Samples are a Load's.
	Samples []load.Sample `json:"samples,omitempty"`
	// Allocated are the bytes of heap that the process has allocated in its life,
	// where it was asked what it has used.
	Allocated uint64 `json:"allocated,omitempty"`
	Error     string `json:"error,omitempty"`
	// Publish: the error is that a port cannot be bound outside the cluster.
	Publish bool   `json:"publish,omitempty"`
	Report  Report `json:"report"`
}

// End is a passport.ConnEnd or a passport.RequestEnd.
type End struct {
	Conn    *passport.ConnEnd    `json:"conn,omitempty"`
	Request *passport.RequestEnd `json:"request,omitempty"`
}

// Question is a TraceRequest made ready to be asked.
type Question struct {
	From    string              `json:"from"`          // the asking node's name
	Pod     string              `json:"pod,omitempty"` // whose address it asks from; "" is the client's own
	Raw     bool                `json:"raw,omitempty"` // bytes and nothing more
	Request proxy.ClientRequest `json:"request"`

	CertPEM []byte `json:"certPEM,omitempty"` // a client certificate
	KeyPEM  []byte `json:"keyPEM,omitempty"`  // and its key
	CAPEM   []byte `json:"caPEM,omitempty"`   // authorities that the client was told to trust
}

// Load is a Question that is asked again and again, by one client that keeps its
// connections and sessions. A Load that differs from the one before in its
// Spec alone has the same client.
type Load struct {
	Question  Question           `json:"question"`
	Limits    plan.ClusterLimits `json:"limits,omitzero"` // of the client's pool
	Recording plan.Recording     `json:"recording,omitempty"`
	Spec      load.Spec          `json:"spec"`
}

// Answer is what came back to who asked a Question.
type Answer struct {
	Root    string      `json:"root,omitempty"` // ID of the end that the passport begins with; "": nothing was sent
	Status  int         `json:"status,omitempty"`
	Headers http.Header `json:"headers,omitempty"`
	Body    []byte      `json:"body,omitempty"`
}

// Nodes is the part of a running hoplab that has its nodes in processes of
// their own.
type Nodes interface {
	// Attend gives what a node is to be told, until ctx ends: then the channel
	// is closed, as it is when the node calls again from somewhere else.
	Attend(ctx context.Context, node string, r Report) (<-chan Event, error)
	Reply(node string, r Reply)
	Report(node string, r Report)
	Ends(node string, ends []End) error
}

package control

import (
	"net/http"

	"hoplab.dev/proxy"
)

// Publication is a port of a node that is to be bound outside the cluster.
type Publication struct {
	Node   string `json:"node"`
	Port   int    `json:"port"`   // by which clients mean it: a load balancer's, or that of a gateway's Service
	Target int    `json:"target"` // of the node's listener
	Host   string `json:"host"`   // IP address to bind
	Local  int    `json:"local"`  // port to bind; 0: any
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

// Answer is what came back to who asked a Question.
type Answer struct {
	Root    string      `json:"root,omitempty"` // ID of the end that the passport begins with; "": nothing was sent
	Status  int         `json:"status,omitempty"`
	Headers http.Header `json:"headers,omitempty"`
	Body    []byte      `json:"body,omitempty"`
}

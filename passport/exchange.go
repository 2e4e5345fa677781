package passport

// Exchange is one request between two nodes, as both told of it: for those who
// need more of the ends than a Passport shows.
type Exchange struct {
	Dialled, Accepted *RequestEnd // nil: that end is not known
	// Wires are the connections that the request was on, from the dialling node
	// on; several where nodes between carry the bytes on unread.
	Wires []Wire
	Next  []*Exchange // what the accepting node dialled because of it
}

// Wire is one connection.
type Wire struct{ Dialled, Accepted *ConnEnd } // nil: that end is not known

// Exchanges joins ends as Join does, and gives those requests that were dialled
// for no other.
func Exchanges(conns []*ConnEnd, requests []*RequestEnd) []*Exchange {
	wires, wireOf := strung(latest(conns))
	all, _ := exchanged(once(requests), wires, wireOf)
	var roots []*Exchange
	for _, e := range all {
		if e.dialled != nil && e.dialled.Parent == "" {
			roots = append(roots, e.public())
		}
	}
	return roots
}

func (e *exchange) public() *Exchange {
	out := &Exchange{Dialled: e.dialled, Accepted: e.accepted}
	for _, w := range e.path {
		out.Wires = append(out.Wires, Wire{w.dialled, w.accepted})
	}
	for _, c := range e.children {
		out.Next = append(out.Next, c.public())
	}
	return out
}

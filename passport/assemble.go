package passport

import "slices"

// assembler holds ends of requests that belong to no passport yet, and finds
// those that a root needs, so that a follower joins what is new and not all
// that is kept.
type assembler struct {
	recorder *Recorder
	accepted map[string][]*RequestEnd // by connection
	caused   map[string][]*RequestEnd // dialled ones, by the accepted one that caused them
	held     ring[*RequestEnd]        // the bound of those that find no root
}

func newAssembler(r *Recorder) *assembler {
	return &assembler{
		recorder: r,
		accepted: make(map[string][]*RequestEnd),
		caused:   make(map[string][]*RequestEnd),
		held:     ring[*RequestEnd]{size: keptEvents},
	}
}

func (a *assembler) add(r *RequestEnd) {
	index, key := a.place(r)
	index[key] = append(index[key], r)
	if gone, full := a.held.add(r); full {
		a.remove(gone)
	}
}

func (a *assembler) remove(r *RequestEnd) {
	index, key := a.place(r)
	left := slices.DeleteFunc(index[key], func(other *RequestEnd) bool { return other == r })
	if len(left) == 0 {
		delete(index, key)
		return
	}
	index[key] = left
}

func (a *assembler) place(r *RequestEnd) (map[string][]*RequestEnd, string) {
	if r.Role == Accepted {
		return a.accepted, r.Conn
	}
	return a.caused, r.Parent
}

// mayBeRoot: nothing that came so far caused this request.
func (a *assembler) mayBeRoot(r *RequestEnd) bool {
	if r.Role == Dialled {
		return r.Parent == ""
	}
	circuit := a.recorder.circuit(r.Conn)
	if !slices.ContainsFunc(circuit, func(c *ConnEnd) bool { return c.Role == Dialled }) {
		return true
	}
	_, wireOf := strung(circuit)
	w := wireOf[r.Conn]
	for w != nil && w.below != nil {
		w = w.below
	}
	return w == nil || w.dialled == nil
}

// gathering is what is to be joined.
type gathering struct {
	requests []*RequestEnd
	conns    []*ConnEnd
	seen     map[any]bool
}

// gather adds all ends to g that may belong to this root.
func (a *assembler) gather(g *gathering, root *RequestEnd) {
	for queue := []*RequestEnd{root}; len(queue) > 0; queue = queue[1:] {
		r := queue[0]
		if g.seen[r] {
			continue
		}
		g.seen[r] = true
		g.requests = append(g.requests, r)
		if r.Role == Accepted {
			queue = append(queue, a.caused[r.ID]...)
		}
		if r.Conn == "" {
			continue
		}
		for _, c := range g.circuit(a.recorder, r.Conn) {
			if r.Role != Dialled || c.Role != Accepted {
				continue
			}
			for _, other := range a.accepted[c.ID] {
				if alike(r, other) {
					queue = append(queue, other)
				}
			}
		}
	}
}

// circuit adds the ends of a connection, of its tunnels and of those that had
// its port before or after.
func (g *gathering) circuit(r *Recorder, id string) []*ConnEnd {
	circuit := r.circuit(id)
	for _, c := range circuit {
		if !g.seen[c] {
			g.seen[c] = true
			g.conns = append(g.conns, c)
		}
	}
	return circuit
}

func (r *Recorder) circuit(id string) []*ConnEnd {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []*conn
	var ends []*ConnEnd
	visit := func(c *conn) {
		if c != nil && c.end != nil && !slices.Contains(found, c) {
			found = append(found, c)
			ends = append(ends, c.end)
		}
	}
	visit(r.conns[id])
	for i := 0; i < len(found); i++ {
		e := found[i].end
		for _, c := range r.routes[routeOf(e)] {
			visit(c)
		}
		for _, c := range r.above[e.ID] {
			visit(c)
		}
		visit(r.conns[e.Downstream])
	}
	return ends
}

// served: a request was seen on this connection, also one that is forgotten.
func (r *Recorder) served(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.conns[id]
	return c != nil && c.served
}

// join makes the passports of what was gathered.
func (g *gathering) join(r *Recorder) []joined { return join(g.conns, g.requests, r.served) }

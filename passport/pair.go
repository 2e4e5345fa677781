package passport

import (
	"cmp"
	"slices"
)

// exchange is one request on one connection (or on a chain of wires that only
// carry it on): the ends of the two nodes, or of the one that is known.
type exchange struct {
	dialled, accepted *RequestEnd
	path              []*wire     // empty: no connection could be had, or its ends are not known
	children          []*exchange // what the accepting node dialled because of it
}

// mark is what both ends of one request hold in common, beside their wire.
type mark struct {
	trace, id, method, authority, path string
	ordinal                            int
}

// marks are the ways in which a dialled request is looked for at the other
// end, best first; of each, requests that have it are taken in order. On
// HTTP/1.1 the ordinal tells; on HTTP/2 streams overtake each other, and the
// header tells that the imitated system sends anyway. A header that comes
// again on the same connection (a retry, a mirror, an app that passes it on) is
// told apart by what else the wire shows, as far as that goes.
func marks(dialled, end *RequestEnd) []mark {
	switch {
	case dialled.Protocol != "h2":
		return []mark{{ordinal: end.Ordinal}}
	case dialled.TraceID != "":
		return []mark{{trace: end.TraceID, id: end.RequestID, method: end.Method, authority: end.Authority, path: end.Path}, {trace: end.TraceID}}
	case dialled.RequestID != "":
		return []mark{{id: end.RequestID, method: end.Method, authority: end.Authority, path: end.Path}, {id: end.RequestID}}
	}
	return []mark{{ordinal: end.Ordinal}}
}

// alike: these two may be the ends of one request on one connection.
func alike(dialled, accepted *RequestEnd) bool {
	widest := len(marks(dialled, dialled)) - 1
	return marks(dialled, dialled)[widest] == marks(dialled, accepted)[widest]
}

// pairRequests finds, for each request dialled on one connection, its partner
// among those accepted from it.
func pairRequests(dialled, accepted []*RequestEnd) map[*RequestEnd]*RequestEnd {
	slices.SortFunc(dialled, inOrder)
	slices.SortFunc(accepted, inOrder)
	partner := make(map[*RequestEnd]*RequestEnd, len(dialled))
	taken := make(map[*RequestEnd]bool, len(accepted))
	for round := range 2 {
		// What is looked for is one of three kinds, by what the dialled end
		// has; each has its own index of the accepted ends.
		indexes := make(map[string]map[mark][]*RequestEnd, 1)
		for _, d := range dialled {
			looked := marks(d, d)
			if partner[d] != nil || round >= len(looked) {
				continue
			}
			kind := kindOfMark(d)
			index := indexes[kind]
			if index == nil {
				index = make(map[mark][]*RequestEnd, len(accepted))
				for _, a := range accepted {
					if !taken[a] {
						m := marks(d, a)[round]
						index[m] = append(index[m], a)
					}
				}
				indexes[kind] = index
			}
			rest := index[looked[round]]
			for len(rest) > 0 && taken[rest[0]] {
				rest = rest[1:]
			}
			if len(rest) > 0 {
				partner[d], taken[rest[0]] = rest[0], true
				rest = rest[1:]
			}
			index[looked[round]] = rest
		}
	}
	return partner
}

func kindOfMark(dialled *RequestEnd) string {
	switch {
	case dialled.Protocol == "h2" && dialled.TraceID != "":
		return "trace"
	case dialled.Protocol == "h2" && dialled.RequestID != "":
		return "id"
	}
	return "ordinal"
}

func inOrder(x, y *RequestEnd) int {
	return cmp.Or(cmp.Compare(x.Ordinal, y.Ordinal), x.Started.Compare(y.Started), cmp.Compare(x.ID, y.ID))
}

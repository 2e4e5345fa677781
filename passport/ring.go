package passport

// ring keeps the last size values that were put, and counts all.
type ring[T any] struct {
	size int
	kept []T
	put  uint64 // so many were put since the start
}

// add returns what had to go for v, if anything had.
func (r *ring[T]) add(v T) (gone T, full bool) {
	if len(r.kept) < r.size {
		r.kept = append(r.kept, v)
	} else {
		at := r.put % uint64(r.size)
		gone, full = r.kept[at], true
		r.kept[at] = v
	}
	r.put++
	return gone, full
}

// since copies what was put after the first seen values, as far as it is kept.
func (r *ring[T]) since(seen uint64) []T {
	first := max(seen, r.put-uint64(len(r.kept)))
	if first >= r.put {
		return nil
	}
	values := make([]T, 0, r.put-first)
	for n := first; n < r.put; n++ {
		values = append(values, r.kept[n%uint64(r.size)])
	}
	return values
}

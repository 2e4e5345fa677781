package bench

import (
	"fmt"

	"hoplab.dev/passport"
)

// asserted refuses a measurement whose connections are not what the variant asks
// for. Load tools that do not look measure resumed handshakes for full ones:
// facts of nighthawk (issue 853) and of s2n-tls (issue 5437).
func asserted(v *Variant, w *way, conns []*passport.ConnEnd, rep *repetition) error {
	for i, s := range w.sessions {
		if v.Plaintext == i+1 {
			continue
		}
		first := w.legs[s.first]
		opened, resumed := 0, 0
		for _, c := range conns {
			if c.Role != passport.Dialled || c.Node != first.from || c.TLS == nil || !c.TLS.Complete || c.Opened.Before(rep.began) {
				continue
			}
			if first.cluster != "" && c.Cluster != first.cluster {
				continue // a health check's
			}
			opened++
			if c.TLS.Resumed {
				resumed++
			}
		}
		between := fmt.Sprintf("from %s to %s", first.from, w.legs[s.last].to)
		wanted := len(rep.samples)
		if v.Connections == Reuse || v.Connections == NewAtClient && i > 0 {
			wanted = 0
		}
		switch {
		case wanted == 0 && opened > max(0, v.Concurrency-1)*2 && v.Rate == 0:
			return &disturbedError{fmt.Errorf("%d connections %s were opened, and none was to be", opened, between)}
		case opened < wanted:
			return fmt.Errorf("%d connections %s were opened for %d requests, and each was to have its own", opened, between, wanted)
		case v.Handshake == Full && resumed > 0:
			return fmt.Errorf("%d of %d handshakes %s were resumed, and all were to be full", resumed, opened, between)
		case v.Handshake == Resumed && wanted > 0 && resumed < opened:
			return fmt.Errorf("%d of %d handshakes %s were full, and all were to be resumed", opened-resumed, opened, between)
		}
	}
	return nil
}

package manifest

import (
	"encoding/json"

	"k8s.io/apimachinery/pkg/api/resource"
)

// Bandwidth is in bits per second; the zero value is one not given.
type Bandwidth int64

// UnmarshalJSON reads a quantity such as 10M, as in the annotation
// kubernetes.io/ingress-bandwidth.
func (b *Bandwidth) UnmarshalJSON(data []byte) error {
	var s Scalar
	if err := json.Unmarshal(data, &s); err != nil {
		return err
	}
	q, err := resource.ParseQuantity(string(s))
	*b = Bandwidth(q.Value())
	return err
}

package validation

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestStatuses(t *testing.T) {
	for code := range 1000 {
		assert.Equal(t, http.StatusText(code) != "", isStatus(code), "%d", code)
	}
}

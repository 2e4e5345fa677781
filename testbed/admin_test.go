package testbed_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
	"hoplab.dev/testbed"
	"hoplab.dev/testbed/control"
)

// TestAdmin: a node in a process of its own tells of itself, and ends for who
// has its token.
func TestAdmin(t *testing.T) {
	out := compiled(t, "tinfoil")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	folder := control.CredentialsFolder{Path: t.TempDir()}
	start(t, out.Plan, out.Materials, testbed.Options{Fleet: &testbed.Fleet{Listener: l, Credentials: folder.Path}})
	credentials, err := control.ReadCredentials(folder.Of(metricsGateway))
	require.NoError(t, err)
	o := testbed.NodeOptions{
		Name: metricsGateway, Kind: plan.Gateway, Control: l.Addr().String(), Credentials: credentials,
		Admin: "127.0.0.1:" + strconv.Itoa(freePort(t)), Drain: time.Second, Say: t.Logf,
	}
	ended := make(chan error, 1)
	go func() { ended <- testbed.RunNode(t.Context(), o) }()

	ask := func(method, path, token string) (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+o.Admin+path, nil)
		require.NoError(t, err)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(body)
	}
	require.Eventually(t, func() bool { status, body := ask("GET", "/ready", ""); return status == 200 && body == "LIVE\n" }, 10*time.Second, 20*time.Millisecond)
	_, dump := ask("GET", "/config_dump", "")
	var is plan.Node
	require.NoError(t, json.Unmarshal([]byte(dump), &is))
	assert.Equal(t, metricsGateway, is.Name)
	_, told := ask("GET", "/stats/prometheus", "")
	assert.Contains(t, told, "envoy_server_live 1")

	for _, token := range []string{"", "wrong"} {
		status, _ := ask("POST", "/quitquitquit", token)
		assert.Equal(t, http.StatusUnauthorized, status)
	}
	status, _ := ask("GET", "/quitquitquit", credentials.Token)
	assert.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = ask("POST", "/quitquitquit", credentials.Token)
	assert.Equal(t, http.StatusOK, status)
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}

	o.Admin = "0.0.0.0:15000"
	assert.ErrorContains(t, testbed.RunNode(t.Context(), o), "is no address of loopback")
}

package proxy

import (
	"net"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/plan"
)

func TestConnectTimeout(t *testing.T) {
	l := newLab(t)
	n := proxyOf(plan.EnvoyGateway, 80)
	n.Clusters[0].ConnectTimeout = 50 * time.Millisecond
	n.Clusters[0].Endpoints = []plan.Endpoint{{Address: plan.Address{Literal: full(t)}}}
	l.node(n)
	res, body := l.wire("gw", 80).get("/")
	assert.Equal(t, 503, res.StatusCode)
	assert.Equal(t, "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: connection timeout", body)
	assert.Contains(t, l.request("gateway/ns/gw", 1).Log, " 503 URX,UF upstream_reset_before_response_started{connection_timeout} ")
}

func TestALBConnectTimeout(t *testing.T) {
	l := newLab(t)
	n := albAt(80)
	n.Clusters[0].ConnectTimeout = 50 * time.Millisecond
	n.Clusters[0].Endpoints = []plan.Endpoint{{Address: plan.Address{Literal: full(t)}}}
	l.node(n)
	res, _ := l.wire("alb", 80).get("/")
	assert.Equal(t, 504, res.StatusCode)
}

// full is the address of a socket whose queue of connections is full: a
// connect to it is never answered.
func full(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	for range 100 {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	require.FailNow(t, "the queue never fills")
	return ""
}

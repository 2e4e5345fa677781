package links_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/testbed/links"
)

// rtt is so long that what the machine needs besides is less than a tenth.
const rtt = 300 * time.Millisecond

// costs asserts that something took so many round trips, within a tenth of
// them. A machine that had no time may try again.
func costs(t *testing.T, trips float64, what string, do func()) {
	t.Helper()
	want := time.Duration(trips * float64(rtt))
	var took time.Duration
	for range 3 {
		began := time.Now()
		do()
		if took = time.Since(began); (took - want).Abs() <= want/10 {
			return
		}
	}
	assert.Fail(t, what, "took %v, which is %.2f round trips and not %v", took, float64(took)/float64(rtt), trips)
}

// request asks once and reads the answer.
func request(t *testing.T, c *http.Client, url string) {
	t.Helper()
	res, err := c.Get(url)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
}

// TestRoundTrips counts what a request over HTTPS costs, new, resumed and on a
// connection that was kept alive.
func TestRoundTrips(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	link := links.Link{RTT: rtt}
	for _, test := range []struct {
		version     uint16
		new, resume float64
	}{
		{tls.VersionTLS13, 3, 3},
		{tls.VersionTLS12, 4, 3},
	} {
		t.Run(tls.VersionName(test.version), func(t *testing.T) {
			t.Parallel()
			config := &tls.Config{
				InsecureSkipVerify: true, MinVersion: test.version, MaxVersion: test.version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
			}
			transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				return link.Dial(ctx, func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, network, addr) })
			}}
			client := &http.Client{Transport: transport}
			fresh := func() {
				transport.CloseIdleConnections()
				config.ClientSessionCache.Put(server.Listener.Addr().String(), nil)
			}
			costs(t, test.new, "new", func() { fresh(); request(t, client, server.URL) })
			costs(t, 1, "kept alive", func() { request(t, client, server.URL) })
			costs(t, test.resume, "resumed", func() { transport.CloseIdleConnections(); request(t, client, server.URL) })
			transport.CloseIdleConnections()
		})
	}
}

// TestForeignClient: its connect is short, and the whole takes as long.
func TestForeignClient(t *testing.T) {
	link := links.Link{RTT: rtt}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Listener = &accepting{server.Listener, link}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of the client that only connects
	server.StartTLS()
	defer server.Close()
	began := time.Now()
	c, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	assert.Less(t, time.Since(began), rtt/2)
	require.NoError(t, c.Close())
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	costs(t, 3, "new", func() { transport.CloseIdleConnections(); request(t, client, server.URL) })
	costs(t, 1, "kept alive", func() { request(t, client, server.URL) })
}

type accepting struct {
	net.Listener
	link links.Link
}

func (a *accepting) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return a.link.Accept(c), nil
}

// pair is a connection over a link, and the other end of it.
func pair(t *testing.T, l links.Link) (over net.Conn, far *net.TCPConn) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	over, err = l.Dial(t.Context(), func(context.Context) (net.Conn, error) { return net.Dial("tcp4", listener.Addr().String()) })
	require.NoError(t, err)
	c, err := listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = over.Close(), c.Close() })
	return over, c.(*net.TCPConn)
}

// TestBandwidth: a megabit takes a second at a megabit per second.
func TestBandwidth(t *testing.T) {
	over, far := pair(t, links.Link{Bandwidth: 4e6})
	began := time.Now()
	go func() { _, _ = over.Write(make([]byte, 250_000)); _ = over.Close() }()
	n, err := io.Copy(io.Discard, far)
	require.NoError(t, err)
	assert.Equal(t, int64(250_000), n, "what was sent before a Close arrives")
	assert.GreaterOrEqual(t, time.Since(began), 480*time.Millisecond)
}

// TestOrder: with jitter no byte overtakes another, either way.
func TestOrder(t *testing.T) {
	over, far := pair(t, links.Link{RTT: 4 * time.Millisecond, Jitter: 4 * time.Millisecond})
	go func() { _, _ = io.Copy(far, far); _ = far.CloseWrite() }()
	sent := make([]byte, 0, 200*10)
	go func() {
		for i := range 200 {
			_, _ = over.Write([]byte{byte(i), 1, 2, 3, 4, 5, 6, 7, 8, 9})
		}
		_ = over.(interface{ CloseWrite() error }).CloseWrite()
	}()
	for i := range 200 {
		sent = append(sent, byte(i), 1, 2, 3, 4, 5, 6, 7, 8, 9)
	}
	got, err := io.ReadAll(over)
	require.NoError(t, err)
	assert.Equal(t, sent, got)
}

// TestEnds: a deadline, a reset and a Close are as on any connection.
func TestEnds(t *testing.T) {
	link := links.Link{RTT: 20 * time.Millisecond}
	t.Run("deadline", func(t *testing.T) {
		over, _ := pair(t, link)
		require.NoError(t, over.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := over.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		assert.True(t, errors.As(err, &timeout) && timeout.Timeout())
		go func() { time.Sleep(10 * time.Millisecond); _ = over.SetReadDeadline(time.Unix(1, 0)) }()
		require.NoError(t, over.SetReadDeadline(time.Time{}))
		_, err = over.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "it wakes who reads")
	})
	t.Run("write deadline", func(t *testing.T) {
		over, _ := pair(t, link)
		require.NoError(t, over.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
		var err error
		for err == nil { // nobody reads
			_, err = over.Write(make([]byte, 1<<20))
		}
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
	t.Run("reset by the far end", func(t *testing.T) {
		over, far := pair(t, link)
		require.NoError(t, far.SetLinger(0))
		require.NoError(t, far.Close())
		_, err := over.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
	t.Run("reset by the near end", func(t *testing.T) {
		over, far := pair(t, link)
		require.NoError(t, over.(interface{ SetLinger(int) error }).SetLinger(0))
		require.NoError(t, over.Close())
		_, err := far.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
	})
	t.Run("end", func(t *testing.T) {
		over, far := pair(t, link)
		_, err := far.Write([]byte("last"))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		got, err := io.ReadAll(over)
		require.NoError(t, err)
		assert.Equal(t, "last", string(got))
	})
	t.Run("closed", func(t *testing.T) {
		over, _ := pair(t, link)
		require.NoError(t, over.Close())
		_, err := over.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = over.Write([]byte("x"))
		assert.ErrorIs(t, err, net.ErrClosed)
	})
	t.Run("arrived", func(t *testing.T) {
		over, far := pair(t, link)
		arrived := over.(interface{ Arrived() (bytes, end bool) }).Arrived
		_, err := far.Write([]byte("x"))
		require.NoError(t, err)
		assert.Eventually(t, func() bool { bytes, end := arrived(); return bytes && !end }, time.Second, time.Millisecond)
		_, err = over.Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, far.Close())
		assert.Eventually(t, func() bool { bytes, end := arrived(); return !bytes && end }, time.Second, time.Millisecond)
	})
}

// TestRefusedDial takes a round trip as well.
func TestRefusedDial(t *testing.T) {
	costs(t, 1, "refused", func() {
		_, err := links.Link{RTT: rtt}.Dial(t.Context(), func(context.Context) (net.Conn, error) { return net.Dial("tcp4", "127.0.0.1:1") })
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := links.Link{RTT: time.Hour}.Dial(ctx, func(context.Context) (net.Conn, error) { return net.Dial("tcp4", "127.0.0.1:1") })
	assert.ErrorIs(t, err, context.DeadlineExceeded)
}

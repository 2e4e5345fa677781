package podnet

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// inNamespace runs a test on a thread that has a network of its own, with an
// address and a default route. The thread ends with the test. Where none may be
// made the test is skipped, unless HOPLAB_JUDGES=1.
func inNamespace(t *testing.T, test func()) {
	t.Helper()
	judged := os.Getenv("HOPLAB_JUDGES") == "1"
	ip, err := exec.LookPath("ip")
	if err != nil && !judged {
		t.Skip("no ip (iproute2)")
	}
	require.NoError(t, err)
	done, refused := make(chan struct{}), false
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread is thrown away
		if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) && !judged {
			refused = true
			return
		} else if !assert.NoError(t, err) {
			return
		}
		for _, args := range [][]string{
			{"link", "set", "lo", "up"},
			{"link", "add", "eth0", "type", "veth", "peer", "name", "nobody"},
			{"link", "set", "nobody", "up"},
			{"addr", "add", "10.9.9.1/24", "dev", "eth0"},
			{"link", "set", "eth0", "up"},
			{"route", "add", "default", "via", "10.9.9.254"},
		} {
			if out, err := exec.Command(ip, args...).CombinedOutput(); !assert.NoError(t, err, "%s", out) {
				return
			}
		}
		test()
	}()
	<-done
	if refused {
		t.Skip("no network namespace may be made here")
	}
}

// as does something as a user: the kernel takes whose a socket is from the
// thread that makes it.
func as(user int, do func()) {
	was, _ := unix.SetfsuidRetUid(user)
	defer func() { _, _ = unix.SetfsuidRetUid(was) }()
	do()
}

// TestRedirect: what an app sends goes to its sidecar, what the sidecar sends
// does not, as istio-init has it.
func TestRedirect(t *testing.T) {
	inNamespace(t, func() {
		const app, other = 101, "240.240.0.1:80"
		if err := Redirect(); err != nil {
			assert.NoError(t, err)
			return
		}
		assert.NoError(t, Redirect(), "twice is as once")

		accepted := map[string]chan net.Conn{}
		for _, addr := range []string{"127.0.0.1:15001", "0.0.0.0:15006", "10.9.9.1:8080", "10.9.9.1:15090", "127.0.0.1:9000"} {
			l, err := net.Listen("tcp4", addr)
			if !assert.NoError(t, err) {
				return
			}
			defer l.Close()
			conns := make(chan net.Conn, 1)
			accepted[addr] = conns
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					conns <- c
				}
			}()
		}
		// leads asserts who accepts what a user dials, and what that was meant for.
		leads := func(user int, source, to, at string, redirected bool) {
			var c net.Conn
			var err error
			d := net.Dialer{Timeout: time.Second}
			if source != "" {
				d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(source)}
			}
			as(user, func() { c, err = d.Dial("tcp4", to) })
			if !assert.NoError(t, err, "%d to %s", user, to) {
				return
			}
			defer c.Close()
			select {
			case got := <-accepted[at]:
				defer got.Close()
				original, ok := Original(got)
				assert.Equal(t, redirected, ok, "%d to %s", user, to)
				if redirected {
					assert.Equal(t, to, original.String())
				}
			case <-time.After(time.Second):
				assert.Fail(t, "nobody accepted", "%d to %s should come to %s", user, to, at)
			}
		}
		leads(app, "", other, "127.0.0.1:15001", true)
		leads(0, "", other, "127.0.0.1:15001", true)
		leads(app, "", "10.9.9.1:8080", "10.9.9.1:8080", false) // itself
		leads(app, "", "127.0.0.1:9000", "127.0.0.1:9000", false)
		leads(SidecarUser, "", "127.0.0.1:9000", "127.0.0.1:9000", false)
		leads(SidecarUser, "127.0.0.6", "10.9.9.1:8080", "10.9.9.1:8080", false) // its app
		leads(SidecarUser, "", "10.9.9.1:8080", "0.0.0.0:15006", true)           // its own pod, as others call it

		for user, to := range map[int]string{SidecarUser: other, app: "240.240.0.1:15012"} { // left alone: nobody is there
			as(user, func() {
				c, err := (&net.Dialer{Timeout: 200 * time.Millisecond}).Dial("tcp4", to)
				if !assert.Error(t, err, "%d to %s", user, to) {
					_ = c.Close()
				}
			})
		}

		dns, err := net.ListenPacket("udp4", "127.0.0.1:15053")
		if !assert.NoError(t, err) {
			return
		}
		defer dns.Close()
		ask := func(user int) error {
			var c net.Conn
			as(user, func() { c, err = net.Dial("udp4", "10.9.9.53:53") })
			if err != nil {
				return err
			}
			defer c.Close()
			_, _ = c.Write([]byte("name?"))
			_ = dns.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			_, _, err = dns.ReadFrom(make([]byte, 16))
			return err
		}
		assert.NoError(t, ask(app), "names are the sidecar's to resolve")
		assert.Error(t, ask(SidecarUser), "which asks the pod's own servers")
	})
}

// TestOriginal: who was not redirected has no original destination.
func TestOriginal(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	c, err := net.Dial("tcp4", l.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	accepted, err := l.Accept()
	require.NoError(t, err)
	defer accepted.Close()
	to, ok := Original(accepted)
	assert.False(t, ok)
	assert.Equal(t, netip.AddrPort{}, to)
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	_, ok = Original(a)
	assert.False(t, ok)
}

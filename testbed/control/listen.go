package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
)

// maxSocketPath is what every system takes: sun_path holds 104 bytes on macOS
// and 108 on Linux, with a final zero.
const maxSocketPath = 103

// Listen opens a unix socket that only its owner may use. A socket file that
// an earlier run left behind is replaced: that nobody serves on it any more is
// for the caller's lock to say. The directory must be the user's own (0700).
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, &Error{
			Message: fmt.Sprintf("the path of the control socket is %d bytes long, and may have %d: %s", len(path), maxSocketPath, path),
			Hint:    "set HOPLAB_STATE to a directory with a shorter path",
		}
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%s is in the way: it is no socket", path)
	default:
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// DialUnix opens connections to a socket that Listen made.
func DialUnix(path string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
}

// Memory is a listener without a socket, for both sides in one process.
type Memory struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// NewMemory listens at once.
func NewMemory() *Memory { return &Memory{conns: make(chan net.Conn), done: make(chan struct{})} }

// Dial connects, when the other side accepts.
func (m *Memory) Dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case m.conns <- theirs:
		return ours, nil
	case <-m.done:
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: m.Addr(), Err: net.ErrClosed}
	case <-ctx.Done():
		return nil, &net.OpError{Op: "dial", Net: "memory", Addr: m.Addr(), Err: ctx.Err()}
	}
}

// Accept waits for the next Dial.
func (m *Memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, &net.OpError{Op: "accept", Net: "memory", Addr: m.Addr(), Err: net.ErrClosed}
	}
}

// Close ends Accept and Dial; open connections stay open.
func (m *Memory) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

// Addr is the same for all.
func (m *Memory) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

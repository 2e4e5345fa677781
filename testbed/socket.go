package testbed

import (
	"net"
	"sync"
	"time"
)

// socket is a bound port. It outlives the node that serves it: when another
// node takes its place (an app with other settings, an Ingress with another
// name) nobody is refused in between, as those who connect wait in the backlog.
type socket struct {
	*net.TCPListener
	turn sync.Mutex // held while accepting: one seat at a time
	left []net.Conn // under turn: accepted by a seat that was closed meanwhile
}

// seat is one node's right to accept on a socket. It is the net.Listener that
// the node gets: to close it leaves the socket bound, for the next seat.
type seat struct {
	socket *socket
	once   sync.Once
	closed chan struct{}
}

// open binds a TCP address.
func open(addr string) (*socket, error) {
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return &socket{TCPListener: l.(*net.TCPListener)}, nil
}

// seat makes a seat, whose Accept waits until the one before is closed.
func (s *socket) seat() *seat { return &seat{socket: s, closed: make(chan struct{})} }

// Close unbinds the port.
func (s *socket) Close() error {
	err := s.TCPListener.Close()
	s.turn.Lock()
	defer s.turn.Unlock()
	for _, c := range s.left {
		_ = c.Close()
	}
	s.left = nil
	return err
}

// Addr is net.Listener's.
func (t *seat) Addr() net.Addr { return t.socket.Addr() }

// Accept is net.Listener's.
func (t *seat) Accept() (net.Conn, error) {
	s := t.socket
	s.turn.Lock()
	defer s.turn.Unlock()
	for {
		if t.isClosed() {
			return nil, net.ErrClosed
		}
		if len(s.left) > 0 {
			c := s.left[0]
			s.left = s.left[1:]
			return c, nil
		}
		// Close closes first and sets its deadline then: whichever deadline
		// comes last, one of the two is noticed.
		_ = s.SetDeadline(time.Time{})
		if t.isClosed() {
			return nil, net.ErrClosed
		}
		c, err := s.TCPListener.Accept()
		switch {
		case err == nil && t.isClosed():
			s.left = append(s.left, c)
		case err == nil:
			return c, nil
		case !isTimeout(err): // a timeout is of a Close: this one's, or late of the one before
			return nil, err
		}
	}
}

// Close ends Accept.
func (t *seat) Close() error {
	t.once.Do(func() {
		close(t.closed)
		_ = t.socket.SetDeadline(time.Unix(1, 0))
	})
	return nil
}

func (t *seat) isClosed() bool {
	select {
	case <-t.closed:
		return true
	default:
		return false
	}
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}

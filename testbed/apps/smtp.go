package apps

import (
	"context"
	"io"
	"log"

	"github.com/emersion/go-smtp"
)

// newSMTP takes any mail and keeps none. In its protocol the server speaks
// first, for which no proxy may wait for bytes of the client.
func newSMTP(s *Server) stream {
	return func(_ context.Context, c *conn) {
		server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailbox{}, nil }))
		server.Domain = s.node.App.Pod
		server.ErrorLog = log.New(io.Discard, "", 0)
		server.ReadTimeout, server.WriteTimeout = stallTimeout, stallTimeout
		l := newLent(c)
		_ = server.Serve(lend(l)) // returns at once: there is no second connection to accept
		<-l.closed
	}
}

// mailbox is a session of smtp's.
type mailbox struct{}

func (mailbox) Mail(string, *smtp.MailOptions) error { return nil }
func (mailbox) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (mailbox) Reset()                               {}
func (mailbox) Logout() error                        { return nil }

func (mailbox) Data(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}

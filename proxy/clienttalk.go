package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"hoplab.dev/passport"
)

// How long a client of a protocol that it does not know waits for more bytes.
const (
	talkQuiet    = 300 * time.Millisecond // after some came
	talkPatience = time.Second            // for the first ones
)

// Talk sends bytes over a connection of its own and reads what comes back: until
// the other side ends, or is quiet. What ends a message is not known; a side
// that waits for the end of all of them is told it when nothing else came.
// Root is as Do has it. An error says how the connection broke.
func (c *Client) Talk(ctx context.Context, r ClientRequest, maxBytes int64) (received []byte, root string, err error) {
	n := c.node
	st, err := newState(n, c.planFor(r), nil)
	if err != nil {
		return nil, "", err
	}
	defer st.release(nil)
	out := &passport.RequestEnd{
		ID: n.ids.Next(), Node: n.name, Role: passport.Dialled, Attempt: 1,
		Protocol: passport.RawTCP, Scheme: "tcp", Authority: r.Host, Started: time.Now(),
	}
	if r.TLS != nil {
		out.Scheme = "tls"
	}
	defer func() {
		out.Total = time.Since(out.Started)
		n.env.Sink.Request(*out)
	}()
	u, f := st.clusters[r.Host].endpoints[0].dial(ctx, dialling{}, "")
	if f != nil {
		out.Conn, out.Ended = f.conn.ID, n.personality().ended(f)
		return nil, out.ID, fmt.Errorf("%s", f.message)
	}
	defer u.close(nil)
	defer context.AfterFunc(ctx, func() { u.close(nil) })()
	out.Conn, out.Ordinal = u.end.ID, 1
	sent, err := u.stream.Write(r.Body)
	out.BodySent = int64(sent)
	if err == nil {
		received, err = u.listen(out, maxBytes)
	}
	if err != nil {
		f := exchangeFailure(ctx, err)
		out.Ended = n.personality().ended(f)
		return received, out.ID, fmt.Errorf("%s", f.message)
	}
	return received, out.ID, nil
}

// listen reads what comes back.
func (u *upstream) listen(out *passport.RequestEnd, maxBytes int64) (received []byte, err error) {
	buf := make([]byte, 16<<10)
	for ended := false; ; {
		wait := talkPatience
		if out.BodyReceived > 0 {
			wait = talkQuiet
		}
		_ = u.stream.SetReadDeadline(time.Now().Add(wait))
		n, err := u.stream.Read(buf)
		if n > 0 && out.BodyReceived == 0 {
			out.FirstByte = time.Since(out.Started)
		}
		out.BodyReceived += int64(n)
		received = append(received, buf[:min(int64(n), maxBytes-int64(len(received)))]...)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF) && out.BodyReceived > 0: // many end TLS by TCP's end
			return received, nil
		case isTimeout(err) && out.BodyReceived == 0 && !ended:
			ended = closeWrite(u.stream)
			if !ended {
				return received, nil
			}
		case isTimeout(err):
			return received, nil
		default:
			return received, err
		}
	}
}

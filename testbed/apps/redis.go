package apps

import (
	"context"

	"github.com/alicebob/miniredis/v2"
)

// newRedis is a Redis in memory that is empty at each start, with the commands
// that miniredis has.
func newRedis(*Server) stream {
	db := miniredis.NewMiniRedis()
	db.ClockTTL(true) // keys expire by themselves
	if c, err := db.Dial(); err == nil {
		_ = c.Close() // it starts without a listener at its first connection
	}
	return func(_ context.Context, c *conn) {
		l := newLent(c)
		db.Server().ServeConn(l)
		<-l.closed
	}
}

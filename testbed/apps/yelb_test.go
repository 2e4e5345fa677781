package apps

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/smtp"
	"strconv"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
	"hoplab.dev/plan"
)

// TestYelb has the four tiers call each other as a browser makes them do.
func TestYelb(t *testing.T) {
	redisAddr, _, redisEnds := serve(t, "redis")
	dbAddr, _, dbEnds := serve(t, "yelb-db")
	network := upstream{"redis-server:6379": redisAddr, "yelb-db:5432": dbAddr}
	e := &ends{}
	appserver, _ := serveNode(t, appNode("yelb-appserver"), Env{Sink: e, Dial: network.dial})
	ui, _ := serveNode(t, appNode("yelb-ui"), Env{Sink: &ends{}, Dial: upstream{"yelb-appserver:4567": appserver[0]}.dial})
	c := client(t, false)

	for _, x := range []struct{ path, contentType, body string }{
		{"/api/hostname", "application/json", "web-0"},
		{"/api/getstats", "application/json", `{"hostname": "web-0", "pageviews":1}`},
		{"/api/pageviews", "application/json", "2"},
		{"/api/ihop", "text/html;charset=utf-8", "1"},
		{"/api/ihop", "text/html;charset=utf-8", "2"},
		{"/api/getvotes", "application/json", `[{"name": "outback", "value": 0},{"name": "bucadibeppo", "value": 0},{"name": "ihop", "value": 2},{"name": "chipotle", "value": 0}]`},
	} {
		res, body := ask(t, c, "GET", "http://"+ui[0]+x.path, nil)
		assert.Equal(t, []any{200, x.contentType, x.body}, []any{res.StatusCode, res.Header.Get("Content-Type"), body}, x.path)
		assert.Equal(t, "*", res.Header.Get("Access-Control-Allow-Origin"))
	}
	res, body := ask(t, c, "GET", "http://"+appserver[0]+"/api/nothing", nil)
	assert.Equal(t, []any{404, "<h1>Not Found</h1>"}, []any{res.StatusCode, body})
	res, _ = ask(t, c, "OPTIONS", "http://"+appserver[0]+"/api/getvotes", nil)
	assert.Equal(t, []any{200, "HEAD,GET,PUT,DELETE,OPTIONS"}, []any{res.StatusCode, res.Header.Get("Allow")})

	// Its first call is caused by the second request that it served.
	_, requests := e.seen()
	var call, cause passport.RequestEnd
	for _, r := range requests {
		if r.Role == passport.Dialled && call.ID == "" {
			call = r
		}
	}
	for _, r := range requests {
		if r.ID == call.Parent {
			cause = r
		}
	}
	assert.Equal(t, "/api/getstats", cause.Path)
	assert.Equal(t, []any{passport.RawTCP, "redis", "redis-server:6379", 0}, []any{call.Protocol, call.Scheme, call.Authority, call.Status})
	assert.Nil(t, call.Ended)
	served := redisEnds.closed(t, 0)
	assert.Equal(t, []int64{call.BodySent, call.BodyReceived}, []int64{served.BytesReceived, served.BytesSent})
	assert.Positive(t, call.BodyReceived)
	assert.Positive(t, dbEnds.closed(t, 0).BytesSent)
}

// TestYelbWithoutStores: what is missing behind the appserver is a 500 of its own.
func TestYelbWithoutStores(t *testing.T) {
	e := &ends{}
	addrs, _ := serveNode(t, appNode("yelb-appserver"), Env{Sink: e, Dial: upstream{}.dial})
	for _, path := range []string{"/api/getstats", "/api/getvotes", "/api/outback"} {
		res, body := ask(t, client(t, false), "GET", "http://"+addrs[0]+path, nil)
		assert.Equal(t, []any{500, "<h1>Internal Server Error</h1>"}, []any{res.StatusCode, body}, path)
	}
	call := e.request(t, 0)
	require.NotNil(t, call.Ended)
	assert.Equal(t, "UF", call.Ended.Flag)
}

// TestYelbDBRefuses asks the database what yelb does not ask.
func TestYelbDBRefuses(t *testing.T) {
	addr, _, _ := serve(t, "yelb-db")
	connect := func(password string) (*pgx.Conn, error) {
		return pgx.Connect(t.Context(), fmt.Sprintf("postgres://postgres:%s@%s/yelbdatabase?sslmode=disable", password, addr))
	}
	var refused *pgconn.PgError
	_, err := connect("guess")
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "28P01", refused.Code)

	db, err := connect("postgres_password")
	require.NoError(t, err)
	defer db.Close(context.WithoutCancel(t.Context()))
	_, err = db.Exec(t.Context(), "DROP TABLE restaurants")
	require.ErrorAs(t, err, &refused)
	assert.Equal(t, "0A000", refused.Code)
	assert.Contains(t, refused.Hint, "select * from restaurants")

	rows, err := db.Query(t.Context(), "SELECT * FROM restaurants;", pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	type row struct {
		Name  string
		Count int
	}
	got, err := pgx.CollectRows(rows, pgx.RowToStructByPos[row])
	require.NoError(t, err)
	assert.Equal(t, []row{{"outback", 0}, {"bucadibeppo", 0}, {"chipotle", 0}, {"ihop", 0}}, got)
	tag, err := db.Exec(t.Context(), "UPDATE restaurants SET count = count +1 WHERE name = $1", "nobody's")
	require.NoError(t, err)
	assert.Zero(t, tag.RowsAffected())
}

// TestRedisForgets has a key expire, and data outlive connections.
func TestRedisForgets(t *testing.T) {
	addr, _, _ := serve(t, "redis")
	do := func(command string, args ...any) any {
		c, err := redis.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		got, err := c.Do(command, args...)
		require.NoError(t, err)
		return got
	}
	assert.Equal(t, "OK", do("SET", "a", "b", "PX", "200"))
	assert.Equal(t, "OK", do("SET", "c", "d"))
	assert.Eventually(t, func() bool { return do("GET", "a") == nil }, 5*time.Second, 20*time.Millisecond)
	assert.Equal(t, []byte("d"), do("GET", "c"))
}

func TestTCPEcho(t *testing.T) {
	for word, args := range map[string][]string{"hello": nil, "one": {"9000,9001", "one"}} {
		node := appNode("tcp-echo")
		node.App.Args = args
		addrs, _ := serveNode(t, node, Env{Sink: &ends{}})
		c, err := net.Dial("tcp", addrs[0])
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Write([]byte("world\nagain\n"))
		require.NoError(t, err)
		r := bufio.NewReader(c)
		for _, want := range []string{"world", "again"} {
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			assert.Equal(t, word+" "+want+"\n", line)
		}
	}
}

// TestSMTP: the server speaks first.
func TestSMTP(t *testing.T) {
	addr, s, _ := serve(t, "smtp")
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	greeting, err := bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "220 web-0 ESMTP Service Ready\r\n", greeting)
	_ = c.Close()
	require.NoError(t, smtp.SendMail(addr, nil, "a@example.com", []string{"b@example.com"}, []byte("Subject: hi\r\n\r\nbody\r\n")))

	// A stop cuts who only holds a connection.
	c, err = net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	_, err = bufio.NewReader(c).ReadString('\n')
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	assert.NoError(t, s.Close(ctx))
}

// TestStreamsListenOnAllPorts: an app of bytes serves each of its ports.
func TestStreamsListenOnAllPorts(t *testing.T) {
	node := appNode("tcp-echo")
	node.App.Ports = []int{9000, 9001}
	addrs, _ := serveNode(t, node, Env{Sink: &ends{}})
	require.Len(t, addrs, 2)
	for i, addr := range addrs {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		_, err = fmt.Fprintln(c, strconv.Itoa(i))
		require.NoError(t, err)
		line, err := bufio.NewReader(c).ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprintf("hello %d\n", i), line)
	}
	assert.Equal(t, "TCP", Protocol(&plan.App{Name: "tcp-echo"}, 9000))
}

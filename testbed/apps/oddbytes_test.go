package apps

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOddBytes: what no client of the protocol sends ends that connection at
// most. The app serves the next, and a stop does not wait for anybody.
func TestOddBytes(t *testing.T) {
	noise := []string{
		"", "\x00", "\r\n", "\n\n\n", strings.Repeat("\xff", 100_000), strings.Repeat("a", 100_000) + "\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
	}
	for _, x := range []struct {
		app   string
		bytes []string
		sound func(t *testing.T, addr string)
	}{
		{"redis", []string{
			"*0\r\n", "*-1\r\n", "*1\r\n$-1\r\n", "*1\r\n$999999999999\r\n", "*999999999\r\n", "*1\r\n:3\r\n", "*2\r\n$4\r\nPING\r\n", "*x\r\n", "*1\r\n*1\r\n",
			"BLPOP a 0\r\n", "SUBSCRIBE a\r\n", "EVAL \"while true do end\" 0\r\n", "SETRANGE a 99999999999 b\r\n", "MULTI\r\n", "SET\r\nGET\r\nLRANGE a b c\r\nHELLO 9\r\nSCAN x\r\nCLIENT\r\n",
		}, soundRedis},
		{"yelb-db", append(postgresNoise(t), "\x00\x00\x00\x04", "\x7f\xff\xff\xff\x00\x03\x00\x00", "\x00\x00\x00\x08\x04\xd2\x16\x2f", "\x00\x00\x00\x08\x00\x03\x00\x00"), soundYelbDB},
		{"smtp", []string{"DATA\r\n", "BDAT 99999999999999999999\r\n", "EHLO a\r\nMAIL FROM:<a@b>\r\nBDAT 5 LAST\r\nab", "EHLO\r\nAUTH PLAIN =\r\n"}, soundSMTP},
		{"tcp-echo", nil, soundEcho},
	} {
		t.Run(x.app, func(t *testing.T) {
			addr, s, _ := serve(t, x.app)
			for _, odd := range append(noise, x.bytes...) {
				c, err := net.Dial("tcp", addr)
				require.NoError(t, err)
				defer c.Close() // until then it stays, as an idle client does
				_, err = io.WriteString(c, odd)
				require.NoError(t, err, "%.40q", odd)
				x.sound(t, addr)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			require.NoError(t, s.Close(ctx))
		})
	}
}

// TestRedisRefuses has each refusal in Redis's words, and the connection go on
// or end as there.
func TestRedisRefuses(t *testing.T) {
	addr, _, _ := serve(t, "redis")
	for sent, want := range map[string]string{
		"*1\r\n$999999999999\r\n":              "-ERR Protocol error: invalid bulk length\r\n",
		"*9999999\r\n":                         "-ERR Protocol error: invalid multibulk length\r\n",
		"*1\r\nPING\r\n":                       "-ERR Protocol error: expected '$', got 'P'\r\n",
		strings.Repeat("a", 70_000):            "-ERR Protocol error: too big inline request\r\n",
		"BLPOP a 0\r\nPING\r\nQUIT\r\n":        "-ERR unknown command 'BLPOP'\r\n+PONG\r\n+OK\r\n",
		"*0\r\n\r\nSET a b\r\nget a\r\nQUIT\n": "+OK\r\n$1\r\nb\r\n+OK\r\n",
	} {
		c, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, sent)
		require.NoError(t, err)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
		got := make([]byte, len(want))
		_, err = io.ReadFull(c, got)
		require.NoError(t, err, "%.40q", sent)
		assert.Equal(t, want, string(got))
		_, err = c.Read(got)
		assert.Error(t, err, "the server closes after %.40q", sent)
		assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	}
}

// postgresNoise are messages of a client that is let in, and then is wrong.
func postgresNoise(t *testing.T) (odd []string) {
	typed := func(kind byte, body string) string {
		return string(binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))) + body
	}
	startup, err := (&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": yelbUser, "database": yelbDatabase}}).Encode(nil)
	require.NoError(t, err)
	login := string(startup) + typed('p', yelbPassword+"\x00")
	parse := typed('P', "\x00"+selectCount+"\x00\x00\x00")
	for _, m := range []string{
		parse + typed('B', "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00"), // a parameter of -2 bytes
		parse + typed('B', "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\x00\x02\x00\x00\x00\x07") + typed('E', "\x00\x00\x00\x00\x00"),
		parse + typed('B', "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\x00\x01\x00\x09") + typed('D', "P\x00") + typed('E', "\x00\xff\xff\xff\xff"),
		typed('B', "\x00\x00\x00\x00\x00\x00\x00\x00"), typed('E', "\x00\x00\x00\x00\x00"), typed('D', "S"), typed('D', "?x\x00"), typed('C', ""),
		typed('Q', ""), typed('Q', "\x00"), typed('Q', selectCount+"\x00"), typed('d', "x"), typed('F', "\x00\x00"), typed('?', ""), "Q\xff\xff\xff\xff", "Q\x7f\xff\xff\xff",
	} {
		odd = append(odd, login+m+typed('S', ""))
	}
	return odd
}

func soundRedis(t *testing.T, addr string) {
	c, err := redis.Dial("tcp", addr, redis.DialReadTimeout(10*time.Second))
	require.NoError(t, err)
	defer c.Close()
	got, err := redis.String(c.Do("PING"))
	require.NoError(t, err)
	assert.Equal(t, "PONG", got)
}

func soundYelbDB(t *testing.T, addr string) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	db, err := pgx.Connect(ctx, fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=prefer", yelbUser, yelbPassword, addr, yelbDatabase))
	require.NoError(t, err)
	defer db.Close(context.WithoutCancel(ctx))
	var n int32
	require.NoError(t, db.QueryRow(ctx, "SELECT count FROM restaurants WHERE name = $1", "ihop").Scan(&n))
	assert.Zero(t, n)
}

func soundSMTP(t *testing.T, addr string) {
	greeting, err := firstLine(t, addr, "")
	require.NoError(t, err)
	assert.Contains(t, greeting, "220 ")
}

func soundEcho(t *testing.T, addr string) {
	got, err := firstLine(t, addr, "world\n")
	require.NoError(t, err)
	assert.Equal(t, "hello world\n", got)
}

func firstLine(t *testing.T, addr, say string) (string, error) {
	c, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(c, say)
	require.NoError(t, err)
	return bufio.NewReader(c).ReadString('\n')
}

// FuzzReadRedis: whatever comes, a command is within the bounds.
func FuzzReadRedis(f *testing.F) {
	for _, s := range []string{"*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "PING\r\n", "*1\r\n$-1\r\n", "*1\r\n$99999999\r\n", "*99999\r\n", "*0\r\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sent string) {
		r := bufio.NewReaderSize(strings.NewReader(sent), maxRedisLine)
		for {
			words, err := readRedis(r)
			if err != nil {
				return
			}
			for _, w := range words {
				assert.LessOrEqual(t, len(w), len(sent))
			}
		}
	})
}

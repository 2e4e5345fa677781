package apps

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// Bounds on what a client sends, in bytes and words. A Redis takes more
// (proto-max-bulk-len 512 MB, 1,048,576 words); yelb sends some twenty bytes.
const (
	maxRedisLine  = 64 << 10 // redis: src/networking.c, PROTO_INLINE_MAX_SIZE
	maxRedisWords = 1024
	maxRedisBulk  = 1 << 20
)

// redisCommands are those that end by themselves and take no more memory than
// they were sent: none that blocks, subscribes, runs a script, or makes a
// string as long as a number says.
var redisCommands = strings.Fields(`
	AUTH CLIENT COMMAND DBSIZE ECHO FLUSHALL FLUSHDB HELLO INFO PING QUIT SELECT TIME
	DEL EXISTS EXPIRE EXPIREAT EXPIRETIME KEYS PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PTTL RENAME RENAMENX SCAN TOUCH TTL TYPE UNLINK
	APPEND DECR DECRBY GET GETDEL GETEX GETRANGE GETSET INCR INCRBY INCRBYFLOAT MGET MSET MSETNX PSETEX SET SETEX SETNX STRLEN
	HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS HLEN HMGET HMSET HSET HSETNX HVALS
	LINDEX LLEN LPOP LPUSH LPUSHX LRANGE LREM LSET LTRIM RPOP RPUSH RPUSHX
	SADD SCARD SISMEMBER SMEMBERS SREM
	ZADD ZCARD ZINCRBY ZRANGE ZRANK ZREM ZREVRANGE ZSCORE`)

// newRedis is a Redis in memory that is empty at each start, with redisCommands
// as miniredis does them. What a client sends is read here: miniredis, made for
// tests, believes any length.
func newRedis(*Server) stream {
	db := miniredis.NewMiniRedis()
	db.ClockTTL(true) // keys expire by themselves
	if c, err := db.Dial(); err == nil {
		_ = c.Close() // it has its commands from its first connection on
	}
	return func(_ context.Context, c *conn) {
		r, w := bufio.NewReaderSize(c, maxRedisLine), bufio.NewWriter(c)
		peer := server.NewPeer(w)
		for !peer.Closed() {
			words, err := readRedis(r)
			if refused := redisError(""); errors.As(err, &refused) {
				peer.WriteError("ERR Protocol error: " + string(refused)) // redis: src/networking.c, setProtocolError
				peer.Flush()
			}
			if err != nil {
				return
			}
			if len(words) == 0 {
				continue // as Redis passes over it
			}
			answerRedis(db, peer, words)
		}
	}
}

func answerRedis(db *miniredis.Miniredis, peer *server.Peer, words []string) {
	if slices.Contains(redisCommands, strings.ToUpper(words[0])) {
		db.Server().Dispatch(peer, words)
	} else {
		peer.WriteError(fmt.Sprintf("ERR unknown command '%.128s'", words[0])) // redis: src/server.c, rejectCommandFormat
	}
	peer.Flush()
}

// redisError is what a client did wrong, in Redis's words.
type redisError string

func (e redisError) Error() string { return string(e) }

// readRedis reads a command: an array of bulk strings, or a line of words as
// people type it. Its error is a redisError or that of reading.
func readRedis(r *bufio.Reader) ([]string, error) {
	line, err := redisLine(r, "too big inline request")
	if err != nil || !strings.HasPrefix(line, "*") {
		return strings.Fields(line), err
	}
	n, err := strconv.Atoi(line[1:])
	if err != nil || n > maxRedisWords {
		return nil, redisError("invalid multibulk length")
	}
	var words []string
	for range n {
		word, err := readBulk(r)
		if err != nil {
			return nil, err
		}
		words = append(words, word)
	}
	return words, nil
}

func readBulk(r *bufio.Reader) (string, error) {
	line, err := redisLine(r, "too big bulk count string")
	if err != nil {
		return "", err
	}
	length, found := strings.CutPrefix(line, "$")
	if !found {
		return "", redisError(fmt.Sprintf("expected '$', got '%.1s'", line))
	}
	n, err := strconv.Atoi(length)
	if err != nil || n < 0 || n > maxRedisBulk {
		return "", redisError("invalid bulk length")
	}
	text := make([]byte, n+2) // and its CRLF, which Redis does not look at
	if _, err := io.ReadFull(r, text); err != nil {
		return "", err
	}
	return string(text[:n]), nil
}

func redisLine(r *bufio.Reader, tooLong redisError) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", tooLong
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

package apps

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
	"github.com/gorilla/mux"
	"github.com/jackc/pgx/v5"
)

// redisTimeout is redis-rb's default for each connect, read and write.
const redisTimeout = 5 * time.Second

// appserver is yelb's middle tier (yelb: yelb-appserver.rb and modules/).
// Each call that it makes has a connection of its own, as there.
type appserver struct{ server *Server }

func newYelbAppserver(s *Server) http.Handler {
	const text, json = "text/html;charset=utf-8", "application/json"
	a := appserver{s}
	r := mux.NewRouter()
	get := func(path, contentType string, answer func(context.Context) (string, error)) {
		r.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			h := w.Header()
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Allow-Headers", "Authorization,Accepts,Content-Type,X-CSRF-Token,X-Requested-With")
			h.Set("Access-Control-Allow-Methods", "GET,POST,PUT,DELETE,OPTIONS")
			body, err := answer(r.Context())
			if err != nil {
				sinatra(w, http.StatusInternalServerError, text, "<h1>Internal Server Error</h1>")
				return
			}
			sinatra(w, http.StatusOK, contentType, body)
		}).Methods(http.MethodGet, http.MethodHead)
	}
	get("/api/pageviews", json, a.pageviews)
	get("/api/hostname", json, func(context.Context) (string, error) { return s.node.App.Pod, nil })
	get("/api/getstats", json, a.stats)
	get("/api/getvotes", json, a.votes)
	for _, name := range yelbRestaurants {
		get("/api/"+name, text, func(ctx context.Context) (string, error) { return a.vote(ctx, name) })
	}
	r.NewRoute().Methods(http.MethodOptions).HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Allow", "HEAD,GET,PUT,DELETE,OPTIONS")
		w.Header().Set("Access-Control-Allow-Headers", "X-Requested-With, X-HTTP-Method-Override, Content-Type, Cache-Control, Accept")
		sinatra(w, http.StatusOK, text, "")
	})
	r.NewRoute().HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		sinatra(w, http.StatusNotFound, text, "<h1>Not Found</h1>")
	})
	return r
}

// sinatra answers under the server's name of yelb's image.
func sinatra(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Server", "WEBrick")
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a client that went is in the request's end
}

func (a appserver) stats(ctx context.Context) (string, error) {
	views, err := a.pageviews(ctx)
	return fmt.Sprintf(`{"hostname": %q, "pageviews":%s}`, a.server.node.App.Pod, views), err
}

// pageviews counts one more view.
func (a appserver) pageviews(ctx context.Context) (views string, err error) {
	err = a.server.talk(ctx, "redis", "redis-server", 6379, func(c net.Conn) error {
		r := redis.NewConn(c, redisTimeout, redisTimeout)
		if _, err := r.Do("INCR", "pageviews"); err != nil {
			return err
		}
		if views, err = redis.String(r.Do("GET", "pageviews")); err != nil {
			return err
		}
		_, err := r.Do("QUIT")
		return err
	})
	return views, err
}

func (a appserver) votes(ctx context.Context) (string, error) {
	var rows []string
	for _, name := range []string{"outback", "bucadibeppo", "ihop", "chipotle"} { // yelb: getvotes.rb
		n, err := a.read(ctx, name)
		if err != nil {
			return "", err
		}
		rows = append(rows, fmt.Sprintf(`{"name": %q, "value": %d}`, name, n))
	}
	return "[" + strings.Join(rows, ",") + "]", nil
}

// vote counts one more vote and gives the sum.
func (a appserver) vote(ctx context.Context, name string) (string, error) {
	err := a.database(ctx, func(c *pgx.Conn) error {
		if _, err := c.Prepare(ctx, "statement1", "UPDATE restaurants SET count = count +1 WHERE name = $1"); err != nil {
			return err
		}
		_, err := c.Exec(ctx, "statement1", name)
		return err
	})
	if err != nil {
		return "", err
	}
	n, err := a.read(ctx, name)
	return fmt.Sprint(n), err
}

func (a appserver) read(ctx context.Context, name string) (n int32, err error) {
	err = a.database(ctx, func(c *pgx.Conn) error {
		if _, err := c.Prepare(ctx, "statement1", "SELECT count FROM restaurants WHERE name =  $1"); err != nil {
			return err
		}
		return c.QueryRow(ctx, "statement1", name).Scan(&n)
	})
	return n, err
}

// database logs in, has something done and takes leave.
func (a appserver) database(ctx context.Context, do func(*pgx.Conn) error) error {
	const host, port = "yelb-db", 5432
	return a.server.talk(ctx, "postgres", host, port, func(c net.Conn) error {
		// sslmode: what encrypts on the way is the mesh.
		config, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s sslmode=disable", host, port, yelbDatabase, yelbUser, yelbPassword))
		if err != nil {
			return err
		}
		config.LookupFunc = func(context.Context, string) ([]string, error) { return []string{host}, nil }
		config.DialFunc = func(context.Context, string, string) (net.Conn, error) { return c, nil }
		db, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return err
		}
		err = do(db)
		_ = db.Close(ctx)
		return err
	})
}

package apps

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgtype"
	psql "github.com/jeroenrinzema/psql-wire"
	"github.com/jeroenrinzema/psql-wire/codes"
	pgerrors "github.com/jeroenrinzema/psql-wire/errors"
)

// How one logs in to yelb's database (yelb: yelb-db/Dockerfile and
// init-yelb-db.sh).
const (
	yelbDatabase = "yelbdatabase"
	yelbUser     = "postgres"
	yelbPassword = "postgres_password"
)

// yelbRestaurants are the rows of its one table (yelb: init-yelb-db.sh).
var yelbRestaurants = []string{"outback", "bucadibeppo", "chipotle", "ihop"}

// yelbDB is yelb's database: one table, and the protocol of a PostgreSQL for
// the statements that yelb sends.
type yelbDB struct {
	mu    sync.Mutex
	count map[string]int32
}

func newYelbDB(*Server) stream {
	db := &yelbDB{count: map[string]int32{}}
	return func(_ context.Context, c *conn) {
		server, err := psql.NewServer(db.parse,
			psql.Version("10.21"), // yelb: yelb-db/Dockerfile, FROM postgres:10.21
			psql.GlobalParameters(psql.Parameters{"standard_conforming_strings": "on", "DateStyle": "ISO, MDY"}), // clients ask for these
			psql.SessionAuthStrategy(psql.ClearTextPassword(authenticate)),
			psql.Logger(slog.New(slog.DiscardHandler)))
		if err != nil {
			panic(err) // of options, and these take none that vary
		}
		l := newLent(c)
		_ = server.Serve(lend(l)) // returns at once: there is no second connection to accept
		<-l.closed
		_ = server.Close()
	}
}

func authenticate(ctx context.Context, database, user, password string) (context.Context, bool, error) {
	return ctx, database == yelbDatabase && user == yelbUser && password == yelbPassword, nil
}

var (
	nameColumn  = psql.Column{Name: "name", Oid: pgtype.BPCharOID, Width: -1}
	countColumn = psql.Column{Name: "count", Oid: pgtype.Int4OID, Width: 4}
)

// The statements, as normal makes them.
const (
	selectCount = "select count from restaurants where name = $1"
	updateCount = "update restaurants set count = count + 1 where name = $1"
	selectAll   = "select name, count from restaurants"
	selectStar  = "select * from restaurants"
)

func (db *yelbDB) parse(_ context.Context, q psql.Query) (psql.PreparedStatements, error) {
	name := psql.WithParameters([]uint32{pgtype.TextOID})
	switch normal(q.Query) {
	case selectCount:
		return psql.Prepared(psql.NewStatement(db.selectCount, name, psql.WithColumns(psql.Columns{countColumn}))), nil
	case updateCount:
		return psql.Prepared(psql.NewStatement(db.updateCount, name)), nil
	case selectAll, selectStar:
		return psql.Prepared(psql.NewStatement(db.selectAll, psql.WithColumns(psql.Columns{nameColumn, countColumn}))), nil
	}
	err := pgerrors.WithCode(errors.New("this database knows yelb's statements alone"), codes.FeatureNotSupported)
	return nil, pgerrors.WithHint(err, strings.Join([]string{selectCount, updateCount, selectStar}, "; "))
}

// normal writes a statement in small letters, with one space between its words.
func normal(sql string) string {
	sql = strings.NewReplacer("+", " + ", "=", " = ", ";", " ").Replace(strings.ToLower(sql))
	return strings.Join(strings.Fields(sql), " ")
}

func (db *yelbDB) selectCount(_ context.Context, w psql.DataWriter, args []psql.Parameter) error {
	name, err := argument(args)
	if err != nil {
		return err
	}
	if n, ok := db.votes(name, 0); ok {
		if err := w.Row([]any{n}); err != nil {
			return err
		}
	}
	return w.Complete(fmt.Sprintf("SELECT %d", w.Written()))
}

func (db *yelbDB) updateCount(_ context.Context, w psql.DataWriter, args []psql.Parameter) error {
	name, err := argument(args)
	if err != nil {
		return err
	}
	if _, ok := db.votes(name, 1); !ok {
		return w.Complete("UPDATE 0")
	}
	return w.Complete("UPDATE 1")
}

func (db *yelbDB) selectAll(_ context.Context, w psql.DataWriter, _ []psql.Parameter) error {
	for _, name := range yelbRestaurants {
		n, _ := db.votes(name, 0)
		if err := w.Row([]any{name, n}); err != nil {
			return err
		}
	}
	return w.Complete(fmt.Sprintf("SELECT %d", w.Written()))
}

// votes adds to the votes of a restaurant and gives their number; false: there
// is none of that name.
func (db *yelbDB) votes(name string, more int32) (int32, bool) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if !slices.Contains(yelbRestaurants, name) {
		return 0, false
	}
	db.count[name] += more
	return db.count[name], true
}

// argument is a statement's one parameter. The padding of a char(30) does not
// count.
func argument(args []psql.Parameter) (string, error) {
	if len(args) != 1 {
		err := fmt.Errorf("bind message supplies %d parameters, but the statement requires 1", len(args))
		return "", pgerrors.WithCode(err, codes.ProtocolViolation)
	}
	return strings.TrimRight(string(args[0].Value()), " "), nil
}

package apps

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
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
		s := newPGSession(c, db)
		if s.open(c, yelbParameters) {
			s.serve()
		}
	}
}

// yelbParameters are told to each client; some ask for them.
var yelbParameters = []pgproto3.ParameterStatus{
	{Name: "server_version", Value: "10.21"}, // yelb: yelb-db/Dockerfile, FROM postgres:10.21
	{Name: "server_encoding", Value: "UTF8"},
	{Name: "client_encoding", Value: "UTF8"},
	{Name: "DateStyle", Value: "ISO, MDY"},
	{Name: "integer_datetimes", Value: "on"},
	{Name: "standard_conforming_strings", Value: "on"},
}

func (db *yelbDB) login(database, user, password string) bool {
	return database == yelbDatabase && user == yelbUser && password == yelbPassword
}

var (
	nameColumn  = pgproto3.FieldDescription{Name: []byte("name"), DataTypeOID: pgtype.BPCharOID, DataTypeSize: -1, TypeModifier: 30 + 4} // char(30)
	countColumn = pgproto3.FieldDescription{Name: []byte("count"), DataTypeOID: pgtype.Int4OID, DataTypeSize: 4, TypeModifier: -1}
)

// The statements, as normal makes them.
const (
	selectCount = "select count from restaurants where name = $1"
	updateCount = "update restaurants set count = count + 1 where name = $1"
	selectAll   = "select name, count from restaurants"
	selectStar  = "select * from restaurants"
)

func (db *yelbDB) statement(sql string) (*pgStatement, error) {
	name := []uint32{pgtype.TextOID}
	switch normal(sql) {
	case selectCount:
		return &pgStatement{name, []pgproto3.FieldDescription{countColumn}, db.selectCount}, nil
	case updateCount:
		return &pgStatement{name, nil, db.updateCount}, nil
	case selectAll, selectStar:
		return &pgStatement{nil, []pgproto3.FieldDescription{nameColumn, countColumn}, db.selectAll}, nil
	}
	err := pgError("0A000", "this database knows yelb's statements alone")
	err.Hint = strings.Join([]string{selectCount, updateCount, selectStar}, "; ")
	return nil, err
}

// normal writes a statement in small letters, with one space between its words.
func normal(sql string) string {
	sql = strings.NewReplacer("+", " + ", "=", " = ", ";", " ").Replace(strings.ToLower(sql))
	return strings.Join(strings.Fields(sql), " ")
}

func (db *yelbDB) selectCount(args []string) (rows [][]any, tag string) {
	if n, ok := db.votes(args[0], 0); ok {
		rows = append(rows, []any{n})
	}
	return rows, fmt.Sprintf("SELECT %d", len(rows))
}

func (db *yelbDB) updateCount(args []string) ([][]any, string) {
	if _, ok := db.votes(args[0], 1); !ok {
		return nil, "UPDATE 0"
	}
	return nil, "UPDATE 1"
}

func (db *yelbDB) selectAll([]string) (rows [][]any, tag string) {
	for _, name := range yelbRestaurants {
		n, _ := db.votes(name, 0)
		rows = append(rows, []any{name, n})
	}
	return rows, fmt.Sprintf("SELECT %d", len(rows))
}

// votes adds to the votes of a restaurant and gives their number; false: there
// is none of that name. The padding of a char(30) does not count.
func (db *yelbDB) votes(name string, more int32) (int32, bool) {
	name = strings.TrimRight(name, " ")
	db.mu.Lock()
	defer db.mu.Unlock()
	if !slices.Contains(yelbRestaurants, name) {
		return 0, false
	}
	db.count[name] += more
	return db.count[name], true
}

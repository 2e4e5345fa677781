package apps

import (
	"errors"
	"net"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
)

// Bounds on what one client may have kept: a message, in bytes, and the
// statements that it prepared and the portals.
const (
	maxPostgresMessage = 64 << 10
	maxPostgresNames   = 1000
)

// pgDatabase is what a PostgreSQL is asked, once its protocol is taken off.
type pgDatabase interface {
	// login tells whether the three belong together.
	login(database, user, password string) bool
	// statement finds out what sql is; an error is a *pgconn.PgError.
	statement(sql string) (*pgStatement, error)
}

// pgStatement is one that a client prepared.
type pgStatement struct {
	params  []uint32 // OIDs
	columns []pgproto3.FieldDescription
	// run gives the rows, and the tag for the end, as "UPDATE 1".
	run func(args []string) (rows [][]any, tag string)
}

// portal is a statement with its arguments, and what is left to give out.
type portal struct {
	*pgStatement
	args    []string
	formats []int16
	ran     bool
	rows    [][]any
	tag     string
}

// pgSession is one connection of the PostgreSQL protocol 3.0, without TLS and
// without transactions (PostgreSQL: protocol-flow.html).
type pgSession struct {
	*pgproto3.Backend
	db         pgDatabase
	types      *pgtype.Map
	statements map[string]*pgStatement
	portals    map[string]*portal
	skipping   bool // after an error, up to the next Sync
}

func newPGSession(c net.Conn, db pgDatabase) *pgSession {
	s := &pgSession{Backend: pgproto3.NewBackend(c, c), db: db, types: pgtype.NewMap(), statements: map[string]*pgStatement{}, portals: map[string]*portal{}}
	s.SetMaxBodyLen(maxPostgresMessage)
	return s
}

// pgError is an error with its SQLSTATE.
func pgError(code, message string) *pgconn.PgError {
	return &pgconn.PgError{Severity: "ERROR", Code: code, Message: message}
}

// open speaks up to the first ReadyForQuery. False: the client is not let in,
// or wanted nothing more.
func (s *pgSession) open(c net.Conn, parameters []pgproto3.ParameterStatus) bool {
	for {
		m, err := s.ReceiveStartupMessage()
		if err != nil {
			return false
		}
		switch m := m.(type) {
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := c.Write([]byte{'N'}); err != nil {
				return false
			}
		case *pgproto3.StartupMessage:
			return s.authenticate(m.Parameters["database"], m.Parameters["user"], parameters)
		default: // of a CancelRequest nothing is told
			return false
		}
	}
}

func (s *pgSession) authenticate(database, user string, parameters []pgproto3.ParameterStatus) bool {
	s.Send(&pgproto3.AuthenticationCleartextPassword{})
	if s.SetAuthType(pgproto3.AuthTypeCleartextPassword) != nil || s.Flush() != nil {
		return false
	}
	m, err := s.Receive()
	if err != nil {
		return false
	}
	password, ok := m.(*pgproto3.PasswordMessage)
	if !ok || !s.db.login(database, user, password.Password) {
		s.fail(&pgconn.PgError{Severity: "FATAL", Code: "28P01", Message: `password authentication failed for user "` + user + `"`})
		_ = s.Flush()
		return false
	}
	s.Send(&pgproto3.AuthenticationOk{})
	for _, p := range parameters {
		s.Send(&p)
	}
	s.ready()
	return s.Flush() == nil
}

func (s *pgSession) ready() { s.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'}) }

// serve answers until the client goes.
func (s *pgSession) serve() {
	for {
		m, err := s.Receive()
		if err != nil {
			return
		}
		switch m.(type) {
		case *pgproto3.Terminate:
			return
		case *pgproto3.Sync:
			s.skipping = false
			clear(s.portals) // they end with the transaction
			s.ready()
		case *pgproto3.Query:
			s.skipping = false
		}
		if !s.skipping {
			s.answer(m)
		}
		switch m.(type) {
		case *pgproto3.Sync, *pgproto3.Query, *pgproto3.Flush:
			if s.Flush() != nil {
				return
			}
		}
	}
}

func (s *pgSession) answer(m pgproto3.FrontendMessage) {
	var err error
	switch m := m.(type) {
	case *pgproto3.Query:
		if err := s.query(m.String); err != nil {
			s.fail(err)
		}
		s.ready()
		return
	case *pgproto3.Parse:
		err = s.parse(m)
	case *pgproto3.Describe:
		err = s.describe(m)
	case *pgproto3.Bind:
		err = s.bind(m)
	case *pgproto3.Execute:
		err = s.execute(m)
	case *pgproto3.Close:
		s.forget(m)
	case *pgproto3.Sync, *pgproto3.Flush:
	default:
		err = pgError("0A000", "this database has neither COPY nor function calls")
	}
	if err != nil {
		s.fail(err)
		s.skipping = true
	}
}

func (s *pgSession) fail(err error) {
	var told *pgconn.PgError
	if !errors.As(err, &told) {
		told = pgError("XX000", err.Error())
	}
	s.Send(&pgproto3.ErrorResponse{Severity: told.Severity, SeverityUnlocalized: told.Severity, Code: told.Code, Message: told.Message, Hint: told.Hint})
}

func (s *pgSession) query(sql string) error {
	statement, err := s.db.statement(sql)
	if err != nil {
		return err
	}
	if len(statement.params) > 0 {
		return pgError("42P02", "there is no parameter $1")
	}
	p := &portal{pgStatement: statement}
	if p.columns != nil {
		s.Send(&pgproto3.RowDescription{Fields: p.columns})
	}
	return s.run(p, 0)
}

func (s *pgSession) parse(m *pgproto3.Parse) error {
	if len(s.statements) >= maxPostgresNames {
		return pgError("53200", "too many prepared statements")
	}
	statement, err := s.db.statement(m.Query)
	if err == nil {
		s.statements[m.Name] = statement
		s.Send(&pgproto3.ParseComplete{})
	}
	return err
}

func (s *pgSession) describe(m *pgproto3.Describe) error {
	columns := func(fields []pgproto3.FieldDescription) {
		if fields == nil {
			s.Send(&pgproto3.NoData{})
			return
		}
		s.Send(&pgproto3.RowDescription{Fields: fields})
	}
	if m.ObjectType == 'S' {
		statement, err := s.prepared(m.Name)
		if err == nil {
			s.Send(&pgproto3.ParameterDescription{ParameterOIDs: statement.params})
			columns(statement.columns)
		}
		return err
	}
	p, err := s.portal(m.Name)
	if err == nil {
		described := slices.Clone(p.columns)
		for i := range described {
			described[i].Format = p.format(i)
		}
		columns(described)
	}
	return err
}

func (s *pgSession) bind(m *pgproto3.Bind) error {
	if len(s.portals) >= maxPostgresNames {
		return pgError("53200", "too many portals")
	}
	statement, err := s.prepared(m.PreparedStatement)
	if err != nil {
		return err
	}
	if len(m.Parameters) != len(statement.params) {
		return pgError("08P01", "bind message supplies the wrong number of parameters")
	}
	if n := len(m.ResultFormatCodes); n > 1 && n != len(statement.columns) {
		return pgError("08P01", "bind message has the wrong number of result formats")
	}
	p := &portal{pgStatement: statement, formats: slices.Clone(m.ResultFormatCodes)}
	for _, a := range m.Parameters { // text is the same in both formats
		p.args = append(p.args, string(a))
	}
	s.portals[m.DestinationPortal] = p
	s.Send(&pgproto3.BindComplete{})
	return nil
}

func (s *pgSession) execute(m *pgproto3.Execute) error {
	p, err := s.portal(m.Portal)
	if err != nil {
		return err
	}
	return s.run(p, int(m.MaxRows))
}

// run gives out a portal's rows, at most so many of them; 0: all.
func (s *pgSession) run(p *portal, most int) error {
	if !p.ran {
		p.rows, p.tag = p.pgStatement.run(p.args)
		p.ran = true
	}
	rows := p.rows
	if most > 0 && len(rows) > most {
		rows = rows[:most]
	}
	for _, row := range rows {
		values := make([][]byte, len(row))
		for i, v := range row {
			value, err := s.types.Encode(p.columns[i].DataTypeOID, p.format(i), v, nil)
			if err != nil {
				return err
			}
			values[i] = value
		}
		s.Send(&pgproto3.DataRow{Values: values})
	}
	if p.rows = p.rows[len(rows):]; len(p.rows) > 0 {
		s.Send(&pgproto3.PortalSuspended{})
		return nil
	}
	s.Send(&pgproto3.CommandComplete{CommandTag: []byte(p.tag)})
	return nil
}

// format is that of column i: one for each, one for all, or text.
func (p *portal) format(i int) int16 {
	switch len(p.formats) {
	case 0:
		return pgproto3.TextFormat
	case 1:
		return p.formats[0]
	}
	return p.formats[i]
}

func (s *pgSession) prepared(name string) (*pgStatement, error) {
	if statement, ok := s.statements[name]; ok {
		return statement, nil
	}
	return nil, pgError("26000", `prepared statement "`+name+`" does not exist`)
}

func (s *pgSession) portal(name string) (*portal, error) {
	if p, ok := s.portals[name]; ok {
		return p, nil
	}
	return nil, pgError("34000", `portal "`+name+`" does not exist`)
}

func (s *pgSession) forget(m *pgproto3.Close) {
	if m.ObjectType == 'S' {
		delete(s.statements, m.Name)
	} else {
		delete(s.portals, m.Name)
	}
	s.Send(&pgproto3.CloseComplete{})
}

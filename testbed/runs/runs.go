// Package runs finds and keeps apart the hoplabs that are up. Each owns a
// folder run/NAME of the state directory: a lock that the kernel gives back
// when its process ends, up.json, and the socket of its control API, which is
// there when all else is ready.
package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"hoplab.dev/certs/filelock"
)

// StateDir is where hoplab keeps what outlives a run: $HOPLAB_STATE, else
// $XDG_STATE_HOME/hoplab, else ~/.local/state/hoplab (on Windows
// %LocalAppData%\hoplab).
func StateDir(getenv func(string) string) (string, error) {
	if dir := getenv("HOPLAB_STATE"); dir != "" {
		return filepath.Abs(dir)
	}
	if runtime.GOOS == "windows" {
		if dir := getenv("LocalAppData"); dir != "" {
			return filepath.Join(dir, "hoplab"), nil
		}
	}
	if dir := getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "hoplab"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", errors.New("no HOME and no HOPLAB_STATE: there is no place to keep keys")
	}
	return filepath.Join(home, ".local", "state", "hoplab"), nil
}

// Dir is a state directory, as far as runs go.
type Dir struct{ path string }

// Open names a state directory.
func Open(state string) *Dir { return &Dir{filepath.Join(state, "run")} }

// Info is up.json: what others must know of a run.
type Info struct {
	Name    string    `json:"name"`
	Ref     string    `json:"ref"`            // the SCENARIO as given
	Path    string    `json:"path,omitempty"` // absolute, where it is a path
	PID     int       `json:"pid"`
	Started time.Time `json:"started"`
}

// Run is a run, one's own or another's.
type Run struct {
	Info
	folder string
	lock   *filelock.Lock
}

// Running is the error of a second run of one name. PID is 0 when the first
// has not written it yet.
type Running struct{ Info }

func (r *Running) Error() string {
	if r.PID == 0 {
		return fmt.Sprintf("%s is up already", r.Name)
	}
	return fmt.Sprintf("%s is up already, with pid %d", r.Name, r.PID)
}

// ErrName is a name that no folder can have on every system.
var ErrName = errors.New("cannot be the name of a run")

// goodName leaves out what one of the systems gives a meaning of its own, and
// what would break a line: names are printed one beside the other.
var goodName = regexp.MustCompile(`^[\pL\pN][\pL\pN ._+@=-]*$`)

// Claim takes the name and writes up.json; Running when another has it.
func (d *Dir) Claim(info Info) (*Run, error) {
	const longest = 64 // the path of the socket may have 103 bytes
	if !goodName.MatchString(info.Name) || len(info.Name) > longest || strings.TrimRight(info.Name, " .") != info.Name {
		return nil, fmt.Errorf("%q %w", info.Name, ErrName)
	}
	r := &Run{Info: info, folder: filepath.Join(d.path, info.Name)}
	path := r.File("lock")
	for {
		err := os.MkdirAll(r.folder, 0o700)
		if errors.Is(err, fs.ErrExist) { // and then it did not: another's Release
			continue
		}
		if err != nil {
			return nil, err
		}
		lock, err := filelock.Try(path)
		switch {
		case errors.Is(err, fs.ErrNotExist): // another's Release was faster
			continue
		case err != nil:
			return nil, err
		case lock == nil:
			other, _ := read(r.folder)
			if held, err := filelock.Held(path); err == nil && !held {
				continue // it ended meanwhile, and what was read is of nobody
			}
			other.Name = info.Name
			return nil, &Running{other}
		}
		if lock.Current(path) {
			r.lock = lock
			break
		}
		_ = lock.Unlock() // of a file that was removed meanwhile
	}
	_ = os.Remove(r.Socket()) // of one that was killed
	if err := r.write(); err != nil {
		r.Release()
		return nil, err
	}
	return r, nil
}

// write makes up.json, whole or not at all.
func (r *Run) write() error {
	data, err := json.MarshalIndent(r.Info, "", "  ")
	if err != nil {
		return err
	}
	temp := r.File("up.json.new")
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, r.File("up.json"))
}

// Socket is the path of the control API's socket.
func (r *Run) Socket() string { return filepath.Join(r.folder, "control.sock") }

// File is a further file of the run's own.
func (r *Run) File(name string) string { return filepath.Join(r.folder, name) }

// Release removes what the run left and gives the name free. The lock goes
// last: whoever finds none may make a new one at once, which is not ours to
// remove. Claim makes sure that the lock it has is on the file that is there.
func (r *Run) Release() {
	entries, _ := os.ReadDir(r.folder)
	for _, e := range entries {
		if e.Name() != "lock" {
			_ = os.RemoveAll(r.File(e.Name()))
		}
	}
	err := os.Remove(r.File("lock"))
	_ = r.lock.Unlock()
	if err != nil { // Windows: only now
		_ = os.Remove(r.File("lock"))
	}
	_ = os.Remove(r.folder) // not where there is a new lock
}

// Ended tells whether the process of a run has let go of all that it held.
func (r *Run) Ended() (bool, error) {
	held, err := filelock.Held(r.File("lock"))
	return err == nil && !held, err
}

func read(folder string) (Info, error) {
	var info Info
	data, err := os.ReadFile(filepath.Join(folder, "up.json"))
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	return info, err
}

// Log makes a file for what a run has to say before it has a folder. It is to
// be renamed into that, or removed.
func (d *Dir) Log() (*os.File, error) {
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return nil, err
	}
	return os.CreateTemp(d.path, ".up-*.log")
}

// Find gives the run of a name; nil when it is not up.
func (d *Dir) Find(name string) (*Run, error) {
	up, err := d.List()
	if i := slices.IndexFunc(up, func(r *Run) bool { return r.Name == name }); i >= 0 {
		return up[i], nil
	}
	return nil, err
}

// List finds the runs that are up: those whose socket somebody serves. What a
// killed one left does not count.
func (d *Dir) List() ([]*Run, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Run
	for _, e := range entries {
		r := &Run{folder: filepath.Join(d.path, e.Name())}
		if r.Info, err = read(r.folder); err != nil {
			continue
		}
		c, err := net.DialTimeout("unix", r.Socket(), time.Second)
		if err != nil {
			continue
		}
		_ = c.Close()
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b *Run) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

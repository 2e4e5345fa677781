// Package runs finds and keeps apart the hoplabs that are up. Each owns a
// folder run/NAME of the state directory: a lock that the kernel gives back
// when its process ends, the socket of its control API, and up.json.
package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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

// Running is the error of a second run of one name.
type Running struct{ Info }

func (r *Running) Error() string {
	return fmt.Sprintf("%s is up already, with pid %d", r.Name, r.PID)
}

// Claim takes the name; Running when another has it.
func (d *Dir) Claim(info Info) (*Run, error) {
	if info.Name == "" || info.Name != filepath.Base(info.Name) || strings.HasPrefix(info.Name, ".") {
		return nil, fmt.Errorf("%q cannot be the name of a run", info.Name)
	}
	r := &Run{Info: info, folder: filepath.Join(d.path, info.Name)}
	path := filepath.Join(r.folder, "lock")
	for {
		if err := os.MkdirAll(r.folder, 0o700); err != nil {
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
			other.Name = info.Name
			return nil, &Running{other}
		}
		if lock.Current(path) {
			r.lock = lock
			return r, nil
		}
		_ = lock.Unlock() // of a file that was removed meanwhile
	}
}

// Announce writes up.json: from now on others find the run.
func (r *Run) Announce() error {
	data, err := json.MarshalIndent(r.Info, "", "  ")
	if err != nil {
		return err
	}
	temp := filepath.Join(r.folder, "up.json.new")
	if err := os.WriteFile(temp, append(data, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(r.folder, "up.json"))
}

// Socket is the path of the control API's socket.
func (r *Run) Socket() string { return filepath.Join(r.folder, "control.sock") }

// File is a further file of the run's own.
func (r *Run) File(name string) string { return filepath.Join(r.folder, name) }

// Release removes what the run left and gives the name free. On systems that
// let a locked file be removed the folder goes too; Claim makes sure that the
// lock it has is on the file that is there.
func (r *Run) Release() {
	_ = os.RemoveAll(r.folder)
	_ = r.lock.Unlock()
	_ = os.Remove(filepath.Join(r.folder, "lock")) // Windows: only now
	_ = os.Remove(r.folder)
}

func read(folder string) (Info, error) {
	var info Info
	data, err := os.ReadFile(filepath.Join(folder, "up.json"))
	if err == nil {
		err = json.Unmarshal(data, &info)
	}
	return info, err
}

// List finds the runs that are up: those whose socket somebody serves. What a
// killed one left does not count.
func (d *Dir) List() ([]*Run, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
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

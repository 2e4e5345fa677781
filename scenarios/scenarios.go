// Package scenarios is the catalogue, and finds and reads what a command line
// calls a SCENARIO: a name of the catalogue, a folder, a file, or "-" for
// standard input.
package scenarios

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"hoplab.dev/mesh/manifest"
	"hoplab.dev/plan"
)

//go:embed */*.yaml */README.md
var catalogue embed.FS

// Names lists the catalogue, in order.
func Names() []string {
	entries, err := fs.ReadDir(catalogue, ".")
	if err != nil {
		panic(err) // embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names
}

// Files gives the folder of a scenario of the catalogue.
func Files(name string) (fs.FS, error) {
	if !slices.Contains(Names(), name) {
		return nil, unknown(name)
	}
	return fs.Sub(catalogue, name)
}

func unknown(name string) error {
	return fmt.Errorf("no scenario %q in the catalogue (%s); a path holds a / or a .: ./%s", name, strings.Join(Names(), ", "), name)
}

// Source is a SCENARIO that was read.
type Source struct {
	Ref   string            // as on the command line
	Path  string            // absolute, of a folder or file; "" for the catalogue and standard input
	Watch []string          // what Watch looks at: folders and files, absolute
	root  string            // the folder to which names of files are relative
	seen  [sha256.Size]byte // fingerprint of Watch when it was read

	Objects     []*manifest.Object
	PassedOver  []manifest.PassedOver
	Diagnostics []plan.Diagnostic
	Extra       map[string][]byte // files that the Scenario's secrets name
	Text        map[string][]byte // each file by the name in diagnostics, to quote from

	own []string // of Text, those that are no part of what is extended
}

// Files are the scenario's own files, by their paths in its folder.
func (s *Source) Files() map[string][]byte {
	out := maps.Clone(s.Extra)
	for _, name := range s.own {
		inside, err := filepath.Rel(s.root, name)
		if err != nil || s.root == "" {
			inside = name
		}
		out[filepath.ToSlash(inside)] = s.Text[name]
	}
	return out
}

// shown is the SCENARIO as people call it.
func (s *Source) shown() string {
	if s.Ref == "-" {
		return "standard input"
	}
	return s.Ref
}

// Name is a name for the world where no Scenario gives one: that of the folder
// or file; "" for standard input.
func (s *Source) Name() string {
	base := filepath.Base(s.Path)
	if s.Path == "" || base == "." || base == string(filepath.Separator) {
		return ""
	}
	base = strings.TrimSuffix(base, filepath.Ext(base))
	return strings.Trim(notInName.ReplaceAllString(strings.ToLower(base), "-"), "-")
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// IsPath tells whether a SCENARIO is a path rather than a name.
func IsPath(ref string) bool {
	return ref == "-" || strings.ContainsAny(ref, "/.") || strings.ContainsRune(ref, filepath.Separator)
}

// Read finds and parses a SCENARIO. An error says that it cannot be read;
// what is wrong in what was read is in the diagnostics.
func Read(ref string, stdin io.Reader) (*Source, error) {
	s := &Source{Ref: ref, Text: map[string][]byte{}, Extra: map[string][]byte{}}
	if err := s.read(ref, stdin); err != nil {
		return nil, err
	}
	if len(s.Objects) == 0 && len(s.PassedOver) == 0 && len(s.Diagnostics) == 0 {
		return nil, fmt.Errorf("%s holds no Kubernetes object", s.shown())
	}
	s.seen, _ = fingerprints{}.of(s.Watch)
	return s, nil
}

func (s *Source) read(ref string, stdin io.Reader) error {
	switch {
	case ref == "-":
		data, err := io.ReadAll(io.LimitReader(stdin, maxFile+1))
		if err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
		return s.parse([]file{{"standard input", data}}, nil, 0)
	case !IsPath(ref):
		folder, err := Files(ref)
		if err != nil {
			return err
		}
		return s.folder(folder, ".", 0)
	}
	abs, err := filepath.Abs(ref)
	if err != nil {
		return err
	}
	s.Path = abs
	info, err := os.Stat(ref)
	if err != nil {
		return err
	}
	if !info.IsDir() && !info.Mode().IsRegular() { // <(helm template .): read once
		f, err := os.Open(ref)
		if err != nil {
			return err
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
		if err != nil {
			return err
		}
		s.Path = ""
		return s.parse([]file{{ref, data}}, nil, 0)
	}
	dir, shown := ref, ref
	if !info.IsDir() {
		dir, shown = filepath.Split(ref)
		dir = cmp.Or(dir, ".")
	}
	s.root = filepath.Clean(dir)
	switch {
	case info.IsDir():
		s.Watch = []string{abs}
		return s.folder(os.DirFS(dir), ref, 0)
	case shown == scenarioFile: // it stands for its folder
		s.Watch = []string{filepath.Dir(abs)}
		return s.folder(os.DirFS(dir), s.root, 0)
	}
	data, err := readFile(os.DirFS(dir), shown)
	if err != nil {
		return err
	}
	s.Watch = []string{abs}
	return s.parse([]file{{ref, data}}, os.DirFS(dir), 0)
}

// scenarioFile says which other files of its folder are read.
const scenarioFile = "scenario.yaml"

// maxFile is the size over which a file is refused; package manifest says so.
const maxFile = 32 << 20

type file struct {
	name string
	data []byte
}

// readFile reads a little more than the limit, so that what is too large is
// seen to be.
func readFile(folder fs.FS, name string) ([]byte, error) {
	// To open a named pipe would wait for somebody to write.
	if info, err := fs.Stat(folder, name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	f, err := folder.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// isManifest tells which files of a folder are read.
func isManifest(name string) bool {
	switch path.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// folder reads a folder: its scenario.yaml first, which may say which others.
func (s *Source) folder(folder fs.FS, shown string, depth int) error {
	entries, err := fs.ReadDir(folder, ".")
	if err != nil {
		return err
	}
	display := func(name string) string {
		if shown == "." || shown == "" {
			return name
		}
		return filepath.Join(shown, name)
	}
	var files []file
	switch data, err := readFile(folder, scenarioFile); {
	case err == nil:
		files = append(files, file{display(scenarioFile), data})
		if o, listed := manifestsOf(files[0]); listed != nil {
			more, err := s.listed(folder, display, o, listed, depth)
			if err != nil {
				return err
			}
			return s.parse(append(files, more...), folder, depth)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	for _, e := range entries { // sorted by name
		if e.IsDir() || !isManifest(e.Name()) || e.Name() == scenarioFile {
			continue
		}
		data, err := readFile(folder, e.Name())
		if err != nil {
			return fmt.Errorf("%s: %w", display(e.Name()), err)
		}
		if path.Ext(e.Name()) == ".json" && !(bytes.Contains(data, []byte(`"apiVersion"`)) && bytes.Contains(data, []byte(`"kind"`))) {
			continue // a package.json and the like: no manifest, and not meant to be one
		}
		files = append(files, file{display(e.Name()), data})
	}
	if len(files) == 0 {
		return fmt.Errorf("%s holds no *.yaml, *.yml or *.json", cmp.Or(shown, "the folder"))
	}
	return s.parse(files, folder, depth)
}

// manifestsOf is spec.manifests of a scenario.yaml, and the document that says
// it; nil when it says nothing. Its faults are found when it is parsed with the
// others.
func manifestsOf(f file) (*manifest.Object, []string) {
	for _, o := range manifest.Parse([]manifest.File{{Name: f.name, Data: f.data}}).Objects {
		if sc, ok := o.Value.(*manifest.Scenario); ok && sc.Spec.Manifests != nil {
			return o, sc.Spec.Manifests
		}
	}
	return nil, nil
}

// listed reads the files of spec.manifests, and says of each that it cannot.
func (s *Source) listed(folder fs.FS, display func(string) string, o *manifest.Object, names []string, depth int) ([]file, error) {
	var files []file
	var faults []error
	for i, name := range names {
		data, err := readFile(folder, path.Clean(filepath.ToSlash(name)))
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", o.At(fmt.Sprintf("spec.manifests[%d]", i)), err))
			continue
		}
		files = append(files, file{display(name), data})
		s.watch(name, depth)
	}
	return files, errors.Join(faults...)
}

// watch adds a file that the Scenario names: what else is in the folder is
// watched as manifests are.
func (s *Source) watch(name string, depth int) {
	if name = filepath.FromSlash(name); s.Path != "" && depth == 0 {
		s.Watch = append(s.Watch, filepath.Join(s.folderPath(), name))
	}
}

// folderPath is the absolute folder to which names of files are relative.
func (s *Source) folderPath() string {
	abs, err := filepath.Abs(s.root)
	if err != nil {
		return s.root
	}
	return abs
}

// maxExtends bounds chains of extends; one that is longer is a circle.
const maxExtends = 8

func (s *Source) parse(files []file, folder fs.FS, depth int) error {
	var in []manifest.File
	for _, f := range files {
		in = append(in, manifest.File{Name: f.name, Data: f.data})
		s.Text[f.name] = f.data
		if depth == 0 {
			s.own = append(s.own, f.name)
		}
	}
	r := manifest.Parse(in)
	own := r.Objects
	s.PassedOver = append(s.PassedOver, r.PassedOver...)
	s.Diagnostics = append(s.Diagnostics, r.Diagnostics...)
	for _, o := range own {
		sc, ok := o.Value.(*manifest.Scenario)
		if !ok {
			continue
		}
		if sc.Spec.Manifests != nil && path.Base(filepath.ToSlash(o.Source.File)) != scenarioFile {
			return fmt.Errorf("%s: manifests: counts in a folder's %s only", o.At("spec.manifests"), scenarioFile)
		}
		s.secretFiles(sc, folder, depth)
		if sc.Spec.Extends != "" {
			if err := s.extend(o, sc.Spec.Extends, depth); err != nil {
				return err
			}
		}
	}
	if depth > 0 {
		for _, o := range own {
			o.Base = true
		}
	}
	s.Objects = append(s.Objects, own...)
	return nil
}

// extend reads the scenario of the catalogue that another extends. Its
// documents come first, as Base: those of the same name replace them.
func (s *Source) extend(o *manifest.Object, name string, depth int) error {
	if depth >= maxExtends {
		return fmt.Errorf("%s: extends goes in a circle", o.At("spec.extends"))
	}
	folder, err := Files(name)
	if err != nil {
		return fmt.Errorf("%s: extends: %w", o.At("spec.extends"), err)
	}
	return s.folder(folder, name, depth+1)
}

// secretFiles reads what the Scenario's secrets name. What cannot be read is
// told, with its line, by package world.
func (s *Source) secretFiles(sc *manifest.Scenario, folder fs.FS, depth int) {
	if folder == nil {
		return // standard input has none
	}
	for _, secret := range sc.Spec.Secrets {
		if secret.Files == nil {
			continue
		}
		for _, name := range []string{secret.Files.Cert, secret.Files.Key, secret.Files.CA} {
			if _, taken := s.Extra[name]; taken || name == "" {
				continue
			}
			s.watch(name, depth)
			if data, err := readFile(folder, path.Clean(filepath.ToSlash(name))); err == nil {
				s.Extra[name] = data
			}
		}
	}
}

// Copy writes a scenario of the catalogue into a new or empty folder.
func Copy(name, dir string) error {
	folder, err := Files(name)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	return os.CopyFS(dir, folder)
}

package deploy_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"hoplab.dev/passport"
)

// What is made for the tests with a container engine, and is taken away again.
const (
	project  = "hoplab-test"
	goImage  = "hoplab-test-go"
	image    = "hoplab-test"
	foreign  = "hoplab-test-debian"
	edgeAddr = "127.0.0.1:8443"
	edgeURL  = "https://netbox.cluster.tinfoil.private/"
	maxImage = 40e6 // bytes
)

// engine is Docker Compose at the top of the repo.
type engine struct {
	t     *testing.T
	files []string
}

// in is the engine for a subtest.
func (e *engine) in(t *testing.T) *engine { return &engine{t: t, files: e.files} }

// run gives what a command prints, and fails the test when it fails.
func (e *engine) run(args ...string) string {
	e.t.Helper()
	out, err := e.try(args...)
	require.NoError(e.t, err, "docker %s:\n%s", strings.Join(args, " "), out)
	return out
}

func (e *engine) try(args ...string) (string, error) {
	e.t.Helper()
	cmd := exec.Command("docker", args...)
	cmd.Dir = ".."
	cmd.Env = e.environ()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return stdout.String() + stderr.String(), err
	}
	return stdout.String(), nil
}

func (*engine) environ() []string {
	return append(os.Environ(), "GO_IMAGE="+goImage, "HOPLAB_IMAGE="+image, "COMPOSE_PROJECT_NAME="+project)
}

// compose is run of docker compose.
func (e *engine) compose(args ...string) string {
	e.t.Helper()
	return e.run(e.words(args)...)
}

func (e *engine) words(args []string) []string {
	words := []string{"compose"}
	for _, f := range e.files {
		words = append(words, "-f", f)
	}
	return append(words, args...)
}

// hoplab runs a command of hoplab's in a service.
func (e *engine) hoplab(service string, args ...string) string {
	e.t.Helper()
	return e.compose(append([]string{"exec", "-T", service, "hoplab"}, args...)...)
}

// trace gives the passport of a request.
func (e *engine) trace(args ...string) passport.Passport {
	e.t.Helper()
	var p passport.Passport
	require.NoError(e.t, json.Unmarshal([]byte(e.hoplab("client", append([]string{"trace", "-o", "json"}, args...)...)), &p))
	return p
}

// addresses are those of a service's container.
func (e *engine) addresses(service string) []string {
	e.t.Helper()
	id := strings.TrimSpace(e.compose("ps", "-q", service))
	return strings.Fields(e.run("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}", id))
}

// TestDocker brings docker-compose.yml up with a real engine. HOPLAB_DOCKER=1
// asks for it, as the machine must have one, and Compose.
func TestDocker(t *testing.T) {
	if os.Getenv("HOPLAB_DOCKER") != "1" {
		t.Skip("HOPLAB_DOCKER=1 asks for it")
	}
	e := &engine{t: t}
	toolchain(t)
	t.Cleanup(func() {
		e.files = nil
		_, _ = e.try("compose", "down", "-v", "--timeout", "1")
		_, _ = e.try("rmi", "-f", image, goImage, foreign)
	})
	e.compose("build")
	t.Run("the README's commands", func(t *testing.T) { readme(t, e.in(t)) })
	e.compose("up", "-d", "--wait")
	ca := []byte(e.hoplab("control", "certs", "--pem", "acm"))

	t.Run("the image is small", func(t *testing.T) {
		e := e.in(t)
		size, err := strconv.ParseFloat(strings.TrimSpace(e.run("image", "inspect", "-f", "{{.Size}}", image)), 64)
		require.NoError(t, err)
		assert.Less(t, size, maxImage)
	})
	t.Run("the edge answers", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, get(t, ca))
	})
	t.Run("the passport has the containers' addresses", func(t *testing.T) {
		e := e.in(t)
		p := e.trace(edgeURL)
		require.Len(t, p.Hops, 4)
		assert.Equal(t, []string{"verified", "encrypted", "mutual", "plaintext"}, locks(p))
		for i, service := range []string{"alb-istio-system-istio-ingress", "gateway-istio-system-istio-ingressgateway", "pause-netbox-netbox-0", "pause-netbox-netbox-0"} {
			host, _, err := net.SplitHostPort(p.Hops[i].To.Addr)
			require.NoError(t, err)
			assert.Contains(t, e.addresses(service), host, "hop %d goes to %s", i+1, service)
		}
	})
	t.Run("the checks pass inside", func(t *testing.T) {
		e := e.in(t)
		assert.Contains(t, e.hoplab("client", "test"), "5 passed, 0 failed")
	})
	t.Run("a node may ask for itself alone", func(t *testing.T) {
		e := e.in(t)
		out, err := e.try("compose", "exec", "-T", "app-netbox-netbox-0", "hoplab", "certs", "--pem", "acm")
		require.Error(t, err)
		assert.Contains(t, out, "app/netbox/netbox-0 may not call /v1/certs/pem")
	})
	t.Run("nodes that are killed come back", func(t *testing.T) { survives(t, e.in(t), ca) })
	t.Run("a stop drains", func(t *testing.T) { drains(t, e.in(t), ca) })
	t.Run("foreign programs are meshed", func(t *testing.T) { meshes(t, e.in(t)) })
	assert.NotRegexp(t, `[0-9a-f]{64}`, e.compose("config"), "a token is in a file")
	assert.NotRegexp(t, `[0-9a-f]{64}`, e.compose("logs"), "a token is in a log")
	t.Run("the checks of other scenarios pass inside", func(t *testing.T) { others(t, e.in(t)) })
}

// others brings further scenarios up, and runs their checks.
func others(t *testing.T, e *engine) {
	e.compose("down", "-v", "--timeout", "2")
	for _, name := range []string{"gateway-mutual", "mtls-migration", "yelb"} {
		t.Setenv("HOPLAB_SCENARIO", name)
		e.compose("up", "-d", "--wait")
		out, err := e.try("compose", "exec", "-T", "client", "hoplab", "test")
		assert.NoError(t, err, "%s:\n%s", name, out)
		e.compose("down", "-v", "--timeout", "2")
	}
}

// readme runs what the README says of Docker, in an empty folder.
func readme(t *testing.T, e *engine) {
	text, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	block := regexp.MustCompile("(?s)```sh\n(docker compose up.*?)```").FindSubmatch(text)
	require.NotNil(t, block)
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	cmd := exec.Command("sh", "-exc", string(block[1]))
	cmd.Dir = t.TempDir()
	cmd.Env = append(e.environ(), "COMPOSE_FILE="+filepath.Join(root, "docker-compose.yml"))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), `"app": "echo"`, "what curl got")
	assert.Contains(t, string(out), "4 hops, no plaintext between pods")
	assert.Contains(t, string(out), "5 passed, 0 failed")
}

func locks(p passport.Passport) []string {
	var out []string
	for _, h := range p.Hops {
		out = append(out, string(h.Lock))
	}
	return out
}

// client is one of the machine's, that trusts the edge's authority.
func client(t *testing.T, ca []byte) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", edgeAddr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// get is the status that the edge answers with.
func get(t *testing.T, ca []byte) int {
	t.Helper()
	res, err := client(t, ca).Get(edgeURL)
	require.NoError(t, err)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	require.NoError(t, err)
	return res.StatusCode
}

// survives: every node is killed in turn, and the edge answers again when the
// engine has started it anew.
func survives(t *testing.T, e *engine, ca []byte) {
	for _, service := range []string{
		"app-netbox-netbox-0", "sidecar-netbox-netbox-0", "gateway-istio-system-istio-ingressgateway", "alb-istio-system-istio-ingress", "client", "control",
	} {
		id := strings.TrimSpace(e.compose("ps", "-q", service))
		pid, err := strconv.Atoi(strings.TrimSpace(e.run("inspect", "-f", "{{.State.Pid}}", id)))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL)) // docker kill would keep it down
		require.Eventually(t, func() bool {
			out, err := e.try("inspect", "-f", "{{.State.Pid}} {{.State.Health.Status}}", id)
			return err == nil && !strings.HasPrefix(out, strconv.Itoa(pid)+" ") && strings.HasSuffix(strings.TrimSpace(out), " healthy")
		}, time.Minute, 100*time.Millisecond, "%s was killed", service)
		require.Equal(t, http.StatusOK, get(t, ca), "%s was killed", service)
		require.Equal(t, []string{"verified", "encrypted", "mutual", "plaintext"}, locks(e.trace(edgeURL)), "%s was killed", service)
	}
}

// drains: a node that is told to end answers what it accepted.
func drains(t *testing.T, e *engine, ca []byte) {
	stop := make(chan struct{})
	type counts struct{ sent, answered, refused, lost int }
	done := make(chan counts)
	go func() {
		var n counts
		c := client(t, ca)
		for {
			select {
			case <-stop:
				done <- n
				return
			default:
			}
			n.sent++
			accepted := false // by the node: the engine's own forwarder may accept, and find nobody
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				WroteRequest: func(httptrace.WroteRequestInfo) { accepted = true },
			})
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, edgeURL, nil)
			res, err := c.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, res.Body)
				_ = res.Body.Close()
			}
			switch {
			case err == nil && res.StatusCode == http.StatusOK:
				n.answered++
			case !accepted:
				n.refused++
				time.Sleep(20 * time.Millisecond)
			default:
				t.Log(err, res)
				n.lost++
			}
		}
	}()
	time.Sleep(500 * time.Millisecond)
	e.compose("restart", "alb-istio-system-istio-ingress")
	e.compose("up", "-d", "--wait")
	time.Sleep(500 * time.Millisecond)
	close(stop)
	n := <-done
	t.Logf("sent %d, answered %d, refused %d, lost %d", n.sent, n.answered, n.refused, n.lost)
	assert.Positive(t, n.answered)
	assert.Zero(t, n.lost)
}

// meshes: an nginx and a curl that know nothing of hoplab are in pods whose
// network brings all to their sidecars.
func meshes(t *testing.T, e *engine) {
	debian(t)
	e.files = []string{"docker-compose.yml", "deploy/testdata/foreign.yaml"}
	e.compose("up", "-d", "--wait")
	p := e.trace(edgeURL)
	require.Len(t, p.Hops, 4)
	assert.Equal(t, []string{"verified", "encrypted", "mutual", "plaintext"}, locks(p))
	body := func(args ...string) string {
		return e.compose(append([]string{"exec", "-T", "app-netbox-minio-0", "curl", "-sS", "-m", "5"}, args...)...)
	}
	for _, url := range []string{"http://netbox/", "http://netbox.netbox/", "http://netbox.netbox.svc.cluster.local/"} {
		assert.Equal(t, "hello from nginx\n", body(url), url)
		var last passport.Passport
		require.NoError(t, json.Unmarshal([]byte(e.hoplab("client", "trace", "--last", "-o", "json")), &last))
		assert.Equal(t, []string{"plaintext", "mutual", "plaintext"}, locks(last), url)
	}
	out, err := e.try(e.words([]string{"exec", "-T", "app-netbox-minio-0", "curl", "-sS", "-m", "5", "http://nothing.netbox/"})...)
	require.Error(t, err)
	assert.Contains(t, out, "Could not resolve host: nothing.netbox")
	// A pod that takes mTLS alone does not take this one from beside the sidecar.
	out, err = e.try(e.words([]string{"exec", "-T", "client", "hoplab", "trace", "-f", "--via", "sidecar/netbox/netbox-0", "http://netbox.netbox/"})...)
	require.Error(t, err)
	assert.Contains(t, out, "filter_chain_not_found")
}

// toolchain makes the image of this machine's Go and of the modules that the
// program needs, which stands in for GO_IMAGE where there is no registry.
func toolchain(t *testing.T) {
	t.Helper()
	goEnv := func(name string) string {
		out, err := exec.Command("go", "env", name).Output()
		require.NoError(t, err)
		return strings.TrimSpace(string(out))
	}
	root, cache := goEnv("GOROOT"), goEnv("GOMODCACHE")
	list := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Dir}}{{end}}", "./cmd/hoplab")
	list.Dir = ".."
	out, err := list.Output()
	require.NoError(t, err)
	imported(t, goImage, []string{"ENV PATH=/go/bin", "ENV GOPROXY=off GOTOOLCHAIN=local GOMODCACHE=/mod GOCACHE=/cache GOFLAGS=-mod=mod"}, func(a *archive) {
		a.folder("tmp")
		a.tree(root, "go", func(path string) bool {
			return path == "test" || path == "doc" || path == "api" || path == "misc"
		})
		seen := map[string]bool{}
		for _, dir := range strings.Fields(string(out)) {
			if rel, err := filepath.Rel(cache, dir); err == nil && !strings.HasPrefix(rel, "..") && !seen[dir] {
				seen[dir] = true
				a.tree(dir, filepath.Join("mod", rel), nil)
			}
		}
		a.tree(filepath.Join(cache, "cache/download"), "mod/cache/download", func(path string) bool {
			return path == "sumdb" || strings.HasSuffix(path, ".zip")
		})
	})
}

// debian makes an image of this machine's nginx and curl, as Debian packages
// them.
func debian(t *testing.T) {
	t.Helper()
	imported(t, foreign, []string{"ENV PATH=/usr/sbin:/usr/bin"}, func(a *archive) {
		for _, program := range []string{"/usr/sbin/nginx", "/usr/bin/curl"} {
			require.FileExists(t, program, "apt-get install nginx-light curl")
			a.file(program, program)
			libraries, err := exec.Command("ldd", program).Output()
			require.NoError(t, err)
			for _, word := range strings.Fields(string(libraries)) {
				if strings.HasPrefix(word, "/") {
					a.file(word, word)
				}
			}
		}
		a.file("testdata/nginx.conf", "etc/nginx/nginx.conf")
		a.text("etc/passwd", "root:x:0:0::/:/none\n")
		a.folder("var/lib/nginx")
		a.folder("var/log/nginx")
	})
}

// imported makes an image of what is written into an archive.
func imported(t *testing.T, name string, changes []string, write func(*archive)) {
	t.Helper()
	args := []string{"import"}
	for _, c := range changes {
		args = append(args, "-c", c)
	}
	cmd := exec.Command("docker", append(args, "-", name)...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	a := &archive{t: t, w: tar.NewWriter(in), has: map[string]bool{}}
	write(a)
	require.NoError(t, a.w.Close())
	require.NoError(t, in.Close())
	require.NoError(t, cmd.Wait(), "%s", out.String())
}

// archive is a file system that is being written.
type archive struct {
	t   *testing.T
	w   *tar.Writer
	has map[string]bool
}

func (a *archive) folder(name string) {
	a.t.Helper()
	require.NoError(a.t, a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o1777}))
}

func (a *archive) text(name, content string) {
	a.t.Helper()
	require.NoError(a.t, a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := io.WriteString(a.w, content)
	require.NoError(a.t, err)
}

// file adds a file, once; of a link what it leads to.
func (a *archive) file(from, name string) {
	a.t.Helper()
	name = strings.TrimPrefix(name, "/")
	if a.has[name] {
		return
	}
	a.has[name] = true
	f, err := os.Open(from)
	require.NoError(a.t, err)
	defer f.Close()
	info, err := f.Stat()
	require.NoError(a.t, err)
	require.NoError(a.t, a.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size(), ModTime: info.ModTime()}))
	_, err = io.Copy(a.w, f)
	require.NoError(a.t, err)
}

// tree adds a folder, but what is left out, by its path in the folder.
func (a *archive) tree(from, name string, leave func(path string) bool) {
	a.t.Helper()
	require.NoError(a.t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		switch {
		case leave != nil && leave(rel) && d.IsDir():
			return filepath.SkipDir
		case leave != nil && leave(rel), d.IsDir():
		case d.Type().IsRegular():
			a.file(path, filepath.Join(name, rel))
		}
		return nil
	}))
}

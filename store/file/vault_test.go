package file

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"caracal.dev/caracal"
)

const torPeer = "  peerIP: 198.51.100.1\n  asNumber: 65001\n  password: {secretKeyRef: {name: tor, key: word}}\n"

// secret writes a password as an operator would.
func (h *host) secret(name, text string, mode fs.FileMode) {
	h.t.Helper()
	path := filepath.Join(h.dir, secretsDir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		h.t.Fatal(err)
	}
}

func password(s *caracal.Snapshot) caracal.Password {
	p, _ := s.Peers.Get("rack1")
	return p.Password
}

// protected is a cluster whose peer has a password.
func protected(t *testing.T) *host {
	h := newHost(t)
	h.cluster()
	h.write("bgppeers/rack1.yaml", doc("BGPPeer", "rack1", torPeer))
	return h
}

// A new password is noticed without a word, and changes nothing but the peer.
func TestSecretRotation(t *testing.T) {
	h := protected(t)
	h.notices()
	h.secret("tor/word", "first\n", 0o600)
	h.start()
	h.wantProblems()
	before := h.store.Snapshot()
	if got := password(before); got != (caracal.Password{From: "local/secrets/tor/word", Secret: caracal.NewSecret("first")}) {
		t.Fatalf("%+v, %q", got, got.Secret.Reveal())
	}
	h.secret("tor/word", "second", 0o400)
	h.eventually("the second password", func(s *caracal.Snapshot) bool { return password(s).Secret == caracal.NewSecret("second") })
	after := h.store.Snapshot()
	if after.Generation != before.Generation+1 || after.Digest != before.Digest {
		t.Errorf("generation %d -> %d, digest %s -> %s", before.Generation, after.Generation, before.Digest, after.Digest)
	}
	h.reload()
	if h.store.Snapshot() != after {
		t.Error("a reload without a change published a Snapshot")
	}
	// Renamed into place, as careful writers do.
	h.secret("tor/.word.tmp", "third", 0o600)
	if err := os.Rename(filepath.Join(h.dir, secretsDir, "tor/.word.tmp"), filepath.Join(h.dir, secretsDir, "tor/word")); err != nil {
		t.Fatal(err)
	}
	h.eventually("the third password", func(s *caracal.Snapshot) bool { return password(s).Secret == caracal.NewSecret("third") })
}

// Kubernetes mounts a secret as links into a directory that it swaps.
func TestSecretSwap(t *testing.T) {
	h := protected(t)
	h.notices()
	at := func(name string) string { return filepath.Join(h.dir, secretsDir, "tor", name) }
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, at(name)); err != nil {
			t.Fatal(err)
		}
	}
	h.secret("tor/..2026_1/word", "first", 0o600)
	link("..2026_1", "..data")
	link("..data/word", "word")
	h.start()
	if got := password(h.store.Snapshot()); got.Secret != caracal.NewSecret("first") {
		t.Fatalf("%+v", got)
	}
	h.secret("tor/..2026_2/word", "second", 0o600)
	link("..2026_2", "..data_tmp")
	if err := os.Rename(at("..data_tmp"), at("..data")); err != nil {
		t.Fatal(err)
	}
	h.eventually("the second password", func(s *caracal.Snapshot) bool { return password(s).Secret == caracal.NewSecret("second") })
}

// badSecrets are files that are no passwords, with the reason that is shown.
var badSecrets = []struct {
	name, want string
	make       func(h *host)
}{
	{"missing", "it does not exist", func(h *host) { h.remove(secretsDir + "/tor") }},
	{"loose", "its mode 0640 lets others at it, so it is not used; run chmod 600 on it", func(h *host) { h.secret("tor/word", "loose", 0o640) }},
	{"world-readable", "its mode 0604 lets others at it, so it is not used; run chmod 600 on it", func(h *host) { h.secret("tor/word", "loose", 0o604) }},
	{"empty", "it is empty", func(h *host) { h.secret("tor/word", "", 0o600) }},
	{"an end of line only", "it is empty", func(h *host) { h.secret("tor/word", "\r\n", 0o600) }},
	{"too long", "it has more than 80 bytes; a password has at most that many", func(h *host) { h.secret("tor/word", strings.Repeat("x", 81), 0o600) }},
	{"much too long", "it has 4096 bytes; a password has at most 80", func(h *host) { h.secret("tor/word", strings.Repeat("x", 4096), 0o600) }},
	{"two lines", "it has control characters or several lines; a password is one line of text", func(h *host) { h.secret("tor/word", "a\nb\n", 0o600) }},
	{"a directory", "it is no regular file", func(h *host) { h.secret("tor/word/x", "a", 0o600) }},
	{"a pipe", "it is no regular file", func(h *host) {
		if err := unix.Mkfifo(filepath.Join(h.dir, secretsDir, "tor/word"), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}},
	{"a link out", "it is a symbolic link that leads nowhere, or out of local/secrets", func(h *host) {
		h.write("outside", "stolen")
		h.link("../../../outside", "tor/word")
	}},
	{"a link from the root", "it is a symbolic link that leads nowhere, or out of local/secrets", func(h *host) {
		h.write("outside", "stolen")
		h.link(filepath.Join(h.dir, "outside"), "tor/word")
	}},
	{"a link to nowhere", "it is a symbolic link that leads nowhere, or out of local/secrets", func(h *host) { h.link("none", "tor/word") }},
}

func (h *host) link(target, name string) {
	h.t.Helper()
	if err := os.Chmod(h.dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Symlink(target, filepath.Join(h.dir, secretsDir, name)); err != nil {
		h.t.Fatal(err)
	}
}

// What cannot be read leaves a session without a password down, and one that had
// one as it is.
func TestBadSecret(t *testing.T) {
	for _, c := range badSecrets {
		t.Run(c.name, func(t *testing.T) {
			h := protected(t)
			h.notices()
			h.secret("tor/other", "other", 0o600)
			c.make(h)
			h.start()
			if got := password(h.store.Snapshot()); got != (caracal.Password{From: "local/secrets/tor/word", Err: c.want}) {
				t.Errorf("%+v, want %s", got, c.want)
			}
			down := "warning: bgppeers/rack1.yaml: BGPPeer rack1: spec.password: local/secrets/tor/word: " + c.want + "; sessions that need it stay down until it can be read"
			h.wantProblems(down)

			h.remove(secretsDir + "/tor")
			h.secret("tor/word", "good", 0o600)
			h.eventually("the good password", func(s *caracal.Snapshot) bool { return password(s).Secret == caracal.NewSecret("good") })
			h.wantProblems()

			h.remove(secretsDir + "/tor")
			h.secret("tor/other", "other", 0o600)
			c.make(h)
			h.eventually("the bad password", func(s *caracal.Snapshot) bool { return strings.Contains(fmt.Sprint(h.problems()), c.want) })
			if got := password(h.store.Snapshot()); got != (caracal.Password{From: "local/secrets/tor/word", Secret: caracal.NewSecret("good")}) {
				t.Errorf("%+v", got)
			}
			h.wantProblems("warning: local/secrets/tor/word: " + c.want + "; the password that was read before stays in force until caracald stops, and then its sessions stay down")

			h.restart()
			if got := password(h.store.Snapshot()); !got.Secret.IsZero() || got.Err != c.want {
				t.Errorf("after a restart: %+v", got)
			}
			h.wantProblems(down)
		})
	}
}

// A password that no resource names any more is forgotten.
func TestSecretForgotten(t *testing.T) {
	h := protected(t)
	h.secret("tor/word", "good", 0o600)
	h.start()
	h.write("bgppeers/rack1.yaml", peer("rack1", 1))
	h.reload()
	if got := password(h.store.Snapshot()); got != (caracal.Password{}) {
		t.Errorf("%+v", got)
	}
	h.remove(secretsDir + "/tor")
	h.write("bgppeers/rack1.yaml", doc("BGPPeer", "rack1", torPeer))
	h.reload()
	if got := password(h.store.Snapshot()); !got.Secret.IsZero() {
		t.Errorf("%+v", got)
	}
}

// A check shows what would be, and takes nothing.
func TestSecretCheck(t *testing.T) {
	h := protected(t)
	h.secret("tor/word", "first", 0o600)
	h.start()
	h.secret("tor/word", "second", 0o600)
	check := func() *caracal.Snapshot {
		t.Helper()
		s, err := h.store.Check(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := check(); password(s).Secret != caracal.NewSecret("second") || s.Generation == h.store.Snapshot().Generation {
		t.Errorf("%+v", password(s))
	}
	h.remove(secretsDir + "/tor/word")
	if s := check(); password(s).Secret != caracal.NewSecret("first") {
		t.Errorf("%+v", password(s))
	}
	if p := password(h.store.Snapshot()); p.Secret != caracal.NewSecret("first") {
		t.Errorf("%+v", p)
	}
}

func TestMeshPassword(t *testing.T) {
	h := newHost(t)
	h.notices()
	h.cluster()
	h.write("bgp.yaml", doc("BGPConfiguration", "default", "  nodeMeshPassword: {secretKeyRef: {name: mesh, key: word}}\n"))
	h.start()
	h.wantProblems("warning: BGPConfiguration: spec.nodeMeshPassword: local/secrets/mesh/word: it does not exist; the sessions of the mesh stay down until it can be read")
	if p := h.store.Snapshot().BGP.MeshPassword; p.From == "" || !p.Secret.IsZero() || p.Err != "it does not exist" {
		t.Errorf("%+v", p)
	}
	h.secret("mesh/word", "good", 0o600)
	h.eventually("the password", func(s *caracal.Snapshot) bool { return s.BGP.MeshPassword.Secret == caracal.NewSecret("good") })
	h.wantProblems()
}

// lockedBuffer takes a log from another goroutine.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// hidden is a password that must not be seen anywhere, and slips are what an
// operator may write where a reference to it belongs.
const hidden = "hunter2"

var slips = []string{
	"  password: " + hidden + "\n", "  password: [" + hidden + "]\n", "  password: {" + hidden + ": x}\n", "  password: {word: " + hidden + "}\n",
	"  password: {secretKeyRef: " + hidden + "}\n", "  password: {secretKeyRef: {name: tor, key: word, " + hidden + ": 1}}\n",
	"  password: {secretKeyRef: {name: tor, key: [" + hidden + "]}}\n", "  password: {secretKeyRef: {name: tor, key: \"" + hidden + " \"}}\n",
	"  password: {secretKeyRef: {name: \"../" + hidden + "\", key: x}}\n", "  password: {secretKeyRef: {name: \"" + hidden + "!\", key: x}}\n",
	"  password: *" + hidden + "\n", "  password: !" + hidden + " x\n", "  password: @" + hidden + "\n", "  password: &" + hidden + " x\n", "  password: \"" + hidden + "\n", "  password: |" + hidden + "\n",
	"  password: {secretKeyRef: {}}\n",
}

// The words appear nowhere: not in what is kept on disk, nor in a log, nor in a
// Problem, nor in a Snapshot however it is printed. That holds as well for those
// that an operator wrote into a resource by mistake, and for files among the
// secrets that look like resources.
func TestSecretsStayHidden(t *testing.T) {
	const word = hidden
	h := protected(t)
	h.notices()
	log := &lockedBuffer{}
	h.opts.Log = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	h.secret("tor/word", word, 0o600)
	h.secret("tor/doc.yaml", doc("BGPPeer", word, "  peerIP: 198.51.100.7\n  asNumber: 1\n"), 0o600)
	h.secret("tor/bad.yaml", word+": [", 0o600)
	h.start()
	h.secret("tor/word", word+"-second", 0o600)
	h.eventually("the second password", func(s *caracal.Snapshot) bool { return password(s).Secret == caracal.NewSecret(word+"-second") })
	for i, slip := range slips {

		h.write(fmt.Sprintf("slip%d.yaml", i), doc("BGPPeer", fmt.Sprintf("slip%d", i), "  peerIP: 198.51.100.9\n  asNumber: 1\n"+slip))
		h.reload()
		if n := len(h.problems()); n != i+1 {
			t.Errorf("%q: %d problems", slip, n)
		}
	}
	h.write("mesh.yaml", doc("BGPConfiguration", "default", "  nodeMeshPassword: "+word+"\n"))
	h.secret("tor/word", word+strings.Repeat("x", 100), 0o600)
	h.reload()
	h.restart()

	s := h.store.Snapshot()
	check, err := h.store.Check(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{"log": log.String(), "problems": strings.Join(h.problems(), "\n"), "digest": s.Digest}
	for i, snap := range []*caracal.Snapshot{s, check} {
		for _, p := range snap.Peers.All() {
			text, err := json.Marshal(p)
			shown[fmt.Sprintf("peer %s %d", p.Name, i)] = fmt.Sprintf("%v %+v %#v %s %v", p, p, p, text, err)
		}
		shown[fmt.Sprintf("snapshot %d", i)] = fmt.Sprintf("%v %+v %#v", *snap, *snap, snap.BGP)
	}
	for what, text := range shown {
		if strings.Contains(text, word) {
			at := strings.Index(text, word)
			t.Errorf("the password is in the %s: …%s…", what, text[max(0, at-100):min(len(text), at+50)])
		}
	}
	records := 0
	err = filepath.WalkDir(h.state, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		records++
		text, err := os.ReadFile(path)
		if strings.Contains(path, word) || bytes.Contains(text, []byte(word)) {
			t.Errorf("the password is in %s: %s", path, text)
		}
		return err
	})
	if err != nil || records < 7 {
		t.Errorf("%d records, %v", records, err)
	}
	if s.Peers.Len() != 1 {
		t.Errorf("%d peers: what is among the secrets was taken for configuration", s.Peers.Len())
	}
}

package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/containernetworking/cni/pkg/types"

	"caracal.dev/caracal"
	"caracal.dev/caracal/internal/nstest"
)

// pluginFile is the plugin's binary, built once by TestMain.
var pluginFile string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caracal-cni")
	if err == nil {
		pluginFile = filepath.Join(dir, PluginType)
		var out []byte
		if out, err = exec.Command("go", "build", "-o", pluginFile, "caracal.dev/caracal/cmd/caracal-cni").CombinedOutput(); err != nil {
			err = fmt.Errorf("build the plugin: %w: %s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// rig is a node with a fake daemon, and the plugin on it.
type rig struct {
	t    testing.TB
	node *nstest.NS
	*fakeDaemon
	state string
	conf  map[string]any // of the network
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, node: nstest.New(t), state: t.TempDir()}
	forwarding(r.node)
	r.node.Device("up0", "192.0.2.1/24", "2001:db8::1/64")
	r.fakeDaemon = newFakeDaemon(t, socketIn(t))
	r.unlink = func(name string) { _, _ = r.node.Try("ip", "link", "delete", name) } // which may be gone
	r.conf = map[string]any{"cniVersion": "1.1.0", "name": "net", "type": PluginType, "socket": r.socket, "stateDir": r.state}
	return r
}

// call is one run of the plugin.
type call struct {
	command, id, ifname, netns, args string
	conf                             map[string]any // over the rig's
}

func (r *rig) command(c call) *exec.Cmd {
	conf := maps.Clone(r.conf)
	maps.Copy(conf, c.conf)
	b, err := json.Marshal(conf)
	if err != nil {
		r.t.Fatal(err)
	}
	cmd := r.node.Command(pluginFile)
	cmd.Stdin = bytes.NewReader(b)
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+c.command, "CNI_CONTAINERID="+c.id, "CNI_IFNAME="+c.ifname, "CNI_NETNS="+c.netns, "CNI_ARGS="+c.args, "CNI_PATH="+filepath.Dir(pluginFile))
	return cmd
}

// run runs the plugin and returns what it printed, and its error of CNI's kind.
func (r *rig) run(c call) ([]byte, *types.Error) {
	out, err := r.command(c).Output()
	if err == nil {
		return out, nil
	}
	var told types.Error
	if json.Unmarshal(out, &told) != nil || told.Code == 0 {
		var exit *exec.ExitError
		errors.As(err, &exit)
		told = types.Error{Code: 99999, Msg: fmt.Sprintf("%v, printed %q, %v", err, out, exit)}
	}
	return out, &told
}

// add is a successful ADD.
func (r *rig) add(c call) *current.Result {
	r.t.Helper()
	c.command = "ADD"
	out, err := r.run(c)
	if err != nil {
		r.t.Fatalf("ADD: code %d: %v", err.Code, err)
	}
	res := &current.Result{}
	if err := json.Unmarshal(out, res); err != nil {
		r.t.Fatalf("%v: %s", err, out)
	}
	return res
}

func (r *rig) mustRun(c call) {
	r.t.Helper()
	if _, err := r.run(c); err != nil {
		r.t.Fatalf("%s: code %d: %v", c.command, err.Code, err)
	}
}

// fails runs the plugin and wants an error with a code and a part of a sentence.
func (r *rig) fails(c call, code uint, part string) {
	r.t.Helper()
	_, err := r.run(c)
	switch {
	case err == nil:
		r.t.Errorf("%s succeeded, want code %d", c.command, code)
	case err.Code != code || !strings.Contains(err.Error(), part):
		r.t.Errorf("%s: code %d: %v\nwant code %d with %q", c.command, err.Code, err, code, part)
	}
}

// links are the host's ends that exist on the node.
func (r *rig) links() (names []string) {
	for f := range strings.FieldsSeq(r.node.Run("ip", "-o", "link", "show", "type", "veth")) {
		if name, _, _ := strings.Cut(strings.TrimSuffix(f, ":"), "@"); caracal.IsHostInterface(name) {
			names = append(names, name)
		}
	}
	return names
}

// queued are the files in the queue of deletions.
func (r *rig) queued() []string {
	files, err := filepath.Glob(filepath.Join(r.state, "deletions", "*"))
	if err != nil {
		r.t.Fatal(err)
	}
	return files
}

// clean wants nothing of any container to be left.
func (r *rig) clean() {
	r.t.Helper()
	all, _ := r.counts()
	if l := r.links(); len(l) > 0 || all > 0 || len(r.queued()) > 0 {
		r.t.Errorf("left: links %v, %d endpoints, queue %v", l, all, r.queued())
	}
}

func TestAddCheckDel(t *testing.T) {
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			r := newRig(t)
			r.conf["cniVersion"] = version
			pod := nstest.New(t)
			c := call{id: "c1", ifname: "eth0", netns: pod.Path(), args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0;K8S_POD_UID=u1;K8S_POD_INFRA_CONTAINER_ID=c1;X=y"}
			began := time.Now()
			res := r.add(c)
			took := time.Since(began)
			host := caracal.HostInterface("c1", "eth0")
			if res.CNIVersion != version || len(res.Interfaces) != 2 || res.Interfaces[0].Name != host || res.Interfaces[1].Sandbox != pod.Path() ||
				len(res.IPs) != 2 || *res.IPs[0].Interface != 1 || res.IPs[0].Address.String() != "10.65.0.1/32" || res.IPs[0].Gateway.String() != "169.254.1.1" || len(res.Routes) != 3 {
				b, _ := json.MarshalIndent(res, "", " ")
				t.Errorf("result %s", b)
			}
			if q := r.lastRequest(); q.Namespace != "prod" || q.Name != "web-0" || q.Uid != "u1" || q.Netns != pod.Path() || q.Kind != "cni" || q.Id.Network != "net" {
				t.Errorf("request %v", q)
			}
			r.node.Run("ip", "route", "add", "10.65.0.1", "dev", host)
			ping(t, r.node, "10.65.0.1", took)
			if version != "0.3.1" {
				r.mustRun(call{command: "CHECK", id: "c1", ifname: "eth0", netns: pod.Path(), conf: map[string]any{"prevResult": res}})
			}
			c.command = "DEL"
			r.mustRun(c)
			r.mustRun(c)
			r.clean()
		})
	}
}

func TestVersion(t *testing.T) {
	cmd := exec.Command(pluginFile)
	cmd.Env = []string{"CNI_COMMAND=VERSION"}
	out, err := cmd.Output()
	var v struct{ SupportedVersions []string }
	if err != nil || json.Unmarshal(out, &v) != nil || !slices.Contains(v.SupportedVersions, "0.3.1") || !slices.Contains(v.SupportedVersions, "1.1.0") {
		t.Errorf("VERSION: %v %s", err, out)
	}
}

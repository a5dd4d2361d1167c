package install

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const unitFile = "../../manifests/systemd/caracald.service"

// setting returns the value of a setting of the unit, continued lines joined as
// systemd.syntax(7) says.
func setting(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(strings.ReplaceAll(string(b), "\\\n", " ")) {
		if value, ok := strings.CutPrefix(line, name+"="); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("%s has no %s=", unitFile, name)
	return ""
}

// A stop of the service is a SIGTERM, a shutdown of the host a SIGUSR2, and
// either time the command waits for the daemon, which systemd would kill
// otherwise.
func TestStopCommand(t *testing.T) {
	script, ok := strings.CutPrefix(setting(t, "ExecStop"), "/bin/sh -c '")
	if !ok {
		t.Fatal("ExecStop is no longer a shell script")
	}
	script = strings.ReplaceAll(strings.TrimSuffix(script, "'"), "$$", "$")
	for state, want := range map[string]string{"running": "TERM", "degraded": "TERM", "stopping": "USR2"} {
		t.Run(state, func(t *testing.T) {
			bin := t.TempDir()
			fake := "#!/bin/sh\ntest \"$*\" = is-system-running || exit 2\necho " + state + "\nexit 1\n"
			if err := os.WriteFile(filepath.Join(bin, "systemctl"), []byte(fake), 0o755); err != nil {
				t.Fatal(err)
			}
			daemon := exec.Command("bash", "-c", `
for s in TERM USR2; do trap "sleep 0.3; echo $s; exit" $s; done
echo up
while :; do sleep 0.05; done`)
			out, err := daemon.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := daemon.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(out)
			lines.Scan() // the traps are set
			ended := make(chan string, 1)
			go func() {
				lines.Scan()
				ended <- lines.Text()
				_ = daemon.Wait()
			}()
			stop := exec.Command("/bin/sh", "-c", script)
			stop.Env = []string{"PATH=" + bin + ":/usr/bin:/bin", "MAINPID=" + strconv.Itoa(daemon.Process.Pid)}
			start := time.Now()
			if b, err := stop.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, b)
			}
			if took := time.Since(start); took < 250*time.Millisecond {
				t.Errorf("the command ended after %v, before the daemon", took)
			}
			select {
			case got := <-ended:
				if got != want {
					t.Errorf("the daemon got %q, want %s", got, want)
				}
			case <-time.After(30 * time.Second):
				_ = daemon.Process.Kill()
				t.Error("the daemon was not told to end")
			}
		})
	}
}

func TestStopCommandWithoutDaemon(t *testing.T) {
	script := strings.TrimSuffix(strings.TrimPrefix(setting(t, "ExecStop"), "/bin/sh -c '"), "'")
	stop := exec.Command("/bin/sh", "-c", strings.ReplaceAll(script, "$$", "$"))
	stop.Env = []string{"PATH=/nowhere"}
	if b, err := stop.CombinedOutput(); err != nil || len(b) > 0 {
		t.Errorf("%v: %s", err, b)
	}
}

// The daemon does its work with the capabilities that the unit leaves it.
func TestCapabilities(t *testing.T) {
	repo, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := onBuilder(repo, "make build"); err != nil {
		t.Fatal(err)
	}
	bounding := "-all"
	for _, c := range strings.Fields(setting(t, "CapabilityBoundingSet")) {
		bounding += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	h := newHost(t, "web1", repo)
	follow(t, block{script: `
ip link add eth0 type veth peer name wire
ip addr add 192.0.2.1/24 dev eth0
ip link set eth0 up
ip link set wire up
bin/caracal init --pool 10.244.0.0/16 --node web1=192.0.2.1/24 --out /etc/caracal
echo 0 >/proc/sys/net/ipv4/ip_forward
setpriv --bounding-set ` + bounding + ` --no-new-privs bin/caracald >/var/log/caracald.log 2>&1 &
`}, h.name, h.run)
	follow(t, block{
		script: "ip route show proto 67; sysctl net.ipv4.ip_forward; ss -ltn 'sport = 179'; tail -n 20 /var/log/caracald.log; bin/caracal show fib",
		want:   []string{"… 10.244.0.0/26 …", "net.ipv4.ip_forward = 1", "LISTEN … 192.0.2.1:179 …"},
	}, h.name, h.run)
}

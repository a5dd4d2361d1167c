package lab

import (
	"context"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"
)

// FRRConfig is what each daemon of FRR reads.
type FRRConfig struct {
	Zebra, Static, BGP string
}

// StartFRR starts zebra, staticd and bgpd, each in the foreground as a child of
// ours. [Node.VTYSH] talks to them.
func (n *Node) StartFRR(conf FRRConfig) error {
	if err := n.startFRR(conf); err != nil {
		return fmt.Errorf("lab: start FRR on %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) startFRR(conf FRRConfig) error {
	dir := n.frrDir()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// The daemons give up root for the user frr, which owns their sockets.
	u, err := user.Lookup("frr")
	if err != nil {
		return fmt.Errorf("%w; install FRR (Debian: apt-get install frr)", err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := os.Chown(dir, uid, gid); err != nil {
		return err
	}
	zserv := filepath.Join(dir, "zserv.api")
	for _, d := range []struct{ name, conf string }{{"zebra", conf.Zebra}, {"staticd", conf.Static}, {"bgpd", conf.BGP}} {
		path, err := find(d.name, "frr", "/usr/lib/frr/"+d.name)
		if err != nil {
			return err
		}
		file := filepath.Join(dir, d.name+".conf")
		if err := os.WriteFile(file, []byte(d.conf), 0o644); err != nil {
			return err
		}
		p, err := n.start(d.name, path, "-f", file, "-i", filepath.Join(dir, d.name+".pid"), "-z", zserv,
			"--vty_socket", dir, "--log", "stdout")
		if err != nil {
			return err
		}
		up := func() bool {
			_, err := os.Stat(filepath.Join(dir, d.name+".vty"))
			return err == nil || !p.Running()
		}
		if !until(10*time.Second, up) || !p.Running() {
			return fmt.Errorf("%s did not start: %s", d.name, p.Log())
		}
	}
	return nil
}

func (n *Node) frrDir() string { return filepath.Join(n.Dir(), "frr") }

// VTYSH sends FRR a command.
func (n *Node) VTYSH(ctx context.Context, command string) (string, error) {
	vtysh, err := find("vtysh", "frr", "/usr/bin/vtysh")
	if err != nil {
		return "", fmt.Errorf("lab: run vtysh on %s: %w", n.Name, err)
	}
	return n.Exec(ctx, vtysh, "--vty_socket", n.frrDir(), "-c", command)
}

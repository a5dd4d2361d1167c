package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"caracal.dev/caracal/felix"
)

// The file in which rules are written for the programs of ipset, and the prefixes of
// those for iptables.
const (
	setFile = "sets"
	rules4  = "rules4-"
	rules6  = "rules6-"
)

// writeFiles writes a Ruleset into files for `ipset restore` and iptables-restore:
// what a program would have to say that knows all beforehand.
func writeFiles(dir string, r felix.Ruleset) error {
	var sets bytes.Buffer
	for s := range r.Sets() {
		members := slices.Collect(r.Members(s.Name))
		family := "inet"
		if s.Family == felix.IPv6 {
			family = "inet6"
		}
		fmt.Fprintf(&sets, "create %s %s family %s maxelem %d\n", s.Name, s.Type, family, max(65536, len(members)))
		for _, m := range members {
			fmt.Fprintf(&sets, "add %s %s\n", s.Name, member(s.Type, m))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, setFile), sets.Bytes(), 0o600); err != nil {
		return err
	}
	tables := map[string]*bytes.Buffer{}
	lines := map[string][]string{} // what comes after all chains are known
	file := func(k felix.ChainKey) string {
		name := rules4 + k.Table.String()
		if k.Family == felix.IPv6 {
			name = rules6 + k.Table.String()
		}
		if tables[name] == nil {
			tables[name] = bytes.NewBufferString("*" + k.Table.String() + "\n")
		}
		return name
	}
	for k, list := range r.Chains() {
		name := file(k)
		fmt.Fprintf(tables[name], ":%s - [0:0]\n", k.Name)
		for _, rule := range list {
			lines[name] = append(lines[name], line(k, rule))
		}
	}
	for k, rule := range r.Hooks() {
		name := file(k)
		lines[name] = append(lines[name], line(k, rule))
	}
	for name, b := range tables {
		b.WriteString(strings.Join(lines[name], "") + "COMMIT\n")
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func line(k felix.ChainKey, r felix.Rule) string {
	about := ""
	if r.About != "" {
		about = ` -m comment --comment "` + r.About + `"`
	}
	return "-A " + k.Name + about + " " + r.Spec + "\n"
}

// member is an entry in the words of ipset(8).
func member(t felix.SetType, m felix.Member) string {
	switch t {
	case felix.HashNet:
		return m.Net.String()
	case felix.HashIPPort:
		protocol := map[uint8]string{syscall.IPPROTO_TCP: "tcp", syscall.IPPROTO_UDP: "udp", 132: "sctp"}[m.Protocol]
		return fmt.Sprintf("%s,%s:%d", m.Net.Addr(), protocol, m.Port)
	case felix.HashNetIface:
		return m.Net.String() + "," + m.Iface
	}
	return m.Net.Addr().String()
}

// limit is what the programs of iptables and ipset take for the files.
type limit struct {
	Sets, Rules cost
}

// restore gives the files of a directory to the programs, in the namespace of n.
func restore(ctx context.Context, n netns, dir, backend string) (l limit, err error) {
	if l.Sets, err = feed(ctx, n, filepath.Join(dir, setFile), "ipset", "restore"); err != nil {
		return l, err
	}
	for prefix, program := range map[string]string{rules4: "iptables", rules6: "ip6tables"} {
		files, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
		if err != nil {
			return l, err
		}
		for _, f := range files {
			c, err := feed(ctx, n, f, program+"-"+backend+"-restore", "--noflush", "--wait")
			if err != nil {
				return l, err
			}
			l.Rules = l.Rules.plus(c)
		}
	}
	return l, nil
}

// feed runs a program in a namespace with a file as its input.
func feed(ctx context.Context, n netns, file, name string, args ...string) (cost, error) {
	in, err := os.Open(file)
	if err != nil {
		return cost{}, err
	}
	defer in.Close()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=/run/netns/" + string(n), "--", name}, args...)...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &out, &out
	begin := time.Now()
	err = cmd.Run()
	c := cost{Wall: time.Since(begin)}
	if p := cmd.ProcessState; p != nil {
		c.CPU = p.UserTime() + p.SystemTime()
	}
	if err != nil {
		text := out.String()
		return c, fmt.Errorf("%s <%s: %w: %s", name, file, err, text[max(0, len(text)-1000):])
	}
	return c, nil
}

// counts says how large a Ruleset is.
type counts struct{ Chains, Rules, Longest, Sets, Members, Largest int }

func count(r felix.Ruleset) (c counts) {
	for _, list := range r.Chains() {
		c.Chains++
		c.Rules += len(list)
		c.Longest = max(c.Longest, len(list))
	}
	for s := range r.Sets() {
		c.Sets++
		n := 0
		for range r.Members(s.Name) {
			n++
		}
		c.Members += n
		c.Largest = max(c.Largest, n)
	}
	return c
}

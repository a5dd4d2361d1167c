package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"caracal.dev/caracal/felix"
	"caracal.dev/caracal/ipip"
	"caracal.dev/caracal/node/api"
)

// OpenRules opens the kernel's rules of the network namespace of the calling thread
// for [Options.OpenRules].
func OpenRules(backend string) (Rules, error) {
	f, err := felix.Open(felix.FilterOptions{Backend: backend})
	if err != nil {
		return nil, err // not a nil *Filter, which would be a Rules
	}
	return f, nil
}

// OpenFlusher opens the table of connections for [Options.OpenFlusher].
func OpenFlusher() (Flusher, error) {
	f, err := felix.OpenFlusher()
	if err != nil {
		return nil, err
	}
	return f, nil
}

// nothing is a Ruleset without anything.
type nothing struct{}

func (nothing) Chains() iter.Seq2[felix.ChainKey, []felix.Rule] {
	return func(func(felix.ChainKey, []felix.Rule) bool) {}
}

func (nothing) Hooks() iter.Seq2[felix.ChainKey, felix.Rule] {
	return func(func(felix.ChainKey, felix.Rule) bool) {}
}

func (nothing) Sets() iter.Seq[felix.Set] { return func(func(felix.Set) bool) {} }

func (nothing) Members(string) iter.Seq[felix.Member] { return func(func(felix.Member) bool) {} }

// mostAudits bounds how often is begun again to destroy sets, some at a time.
const mostAudits = 1000

// RemoveRules takes away all rules and sets of felix, of both variants of iptables.
// Without the programs of iptables there is nothing that could be.
func RemoveRules(ctx context.Context) error {
	f, err := felix.Open(felix.FilterOptions{})
	if noPrograms(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("node: remove the rules of policies: %w", err)
	}
	defer f.Close()
	for range mostAudits {
		res, err := f.Audit(ctx, nothing{})
		if err != nil {
			return fmt.Errorf("node: remove the rules of policies: %w", err)
		}
		if res.Unused == 0 {
			return nil
		}
	}
	return errors.New("node: remove the rules of policies: some sets stay in use: ipset list names them")
}

func noPrograms(err error) bool {
	return errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist)
}

// CleanupPolicy lists what of felix is in the kernel, and with yes removes it. It is
// [Cleanup] for rules.
func CleanupPolicy(ctx context.Context, yes bool) (res api.CleanupResult, err error) {
	chains, sets, err := countRules(ctx)
	if err != nil {
		return res, fmt.Errorf("node: clean up the rules of policies: %w", err)
	}
	if chains > 0 {
		res.Items = append(res.Items, fmt.Sprintf("%d chains of iptables, named %s*, and the rules that lead to them", chains, felix.Prefix))
	}
	if sets > 0 {
		res.Items = append(res.Items, fmt.Sprintf("%d ipsets, named %s*", sets, felix.Prefix))
	}
	res.Total = len(res.Items)
	if !yes || res.Total == 0 {
		return res, nil
	}
	if err := RemoveRules(ctx); err != nil {
		res.Failed = append(res.Failed, err.Error())
		return res, nil
	}
	res.Deleted = res.Total
	return res, nil
}

// countRules counts the chains of the variant in use that have rules of ours, and
// the sets.
func countRules(ctx context.Context) (chains, sets int, err error) {
	f, err := felix.Open(felix.FilterOptions{})
	if noPrograms(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	counters, err := f.Counters(ctx)
	if err != nil {
		return 0, 0, err
	}
	found := map[felix.ChainKey]bool{}
	for _, c := range counters {
		if strings.HasPrefix(c.Name, felix.Prefix) {
			found[c.ChainKey] = true
		}
	}
	list, err := netlink.IpsetListAll()
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPROTONOSUPPORT) {
		return len(found), 0, err
	}
	for _, s := range list {
		if strings.HasPrefix(s.SetName, felix.Prefix) && s.SetName != ipip.SetName {
			sets++
		}
	}
	return len(found), sets, nil
}

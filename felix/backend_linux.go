package felix

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/coreos/go-iptables/iptables"
)

// Open opens the packet filter of the network namespace of the calling thread;
// Close ends it. It writes nothing. It fails without the programs of iptables.
func Open(o FilterOptions) (*Filter, error) {
	if o.Host != nil {
		return newFilter(*o.Host, o.Backend), nil
	}
	p, err := openPrograms(o)
	if err != nil {
		return nil, fmt.Errorf("felix: open the network namespace: %w", err)
	}
	why := "it is configured"
	if o.Backend == "" {
		if o.Backend, why, err = p.choose(context.Background()); err != nil {
			p.close()
			return nil, fmt.Errorf("felix: choose a variant of iptables: %w", err)
		}
	}
	if err := p.checkVersion(o.Backend); err != nil {
		p.close()
		return nil, fmt.Errorf("felix: use iptables-%s: %w", o.Backend, err)
	}
	sets, err := openIPSets()
	if err != nil {
		p.close()
		return nil, fmt.Errorf("felix: open ipsets: %w", err)
	}
	f := newFilter(Host{p, sets}, o.Backend)
	f.why = why
	f.close = func() {
		sets.close()
		p.close()
	}
	return f, nil
}

// choose takes the variant that the host's other programs use.
func (p *programs) choose(ctx context.Context) (backend, why string, err error) {
	nft, nftErr := p.survey(ctx, BackendNFT)
	legacy, legacyErr := p.survey(ctx, BackendLegacy)
	usual := ""
	if path, err := p.look("iptables"); err == nil {
		usual = p.variant(path)
	}
	if backend, why = chooseBackend(nft, legacy, usual); backend == "" {
		return "", "", errors.Join(nftErr, legacyErr)
	}
	return backend, why, nil
}

// survey looks at what other programs have in a variant.
func (p *programs) survey(ctx context.Context, backend string) (survey, error) {
	var s survey
	for _, family := range []Family{IPv4, IPv6} {
		if family == IPv6 && !p.hasIPv6() {
			continue
		}
		path, err := p.program(TableRef{Backend: backend, Family: family}, "save")
		switch {
		case err != nil && family == IPv4:
			return s, err
		case err != nil:
			continue
		case backend == BackendLegacy && len(p.legacyTables(family)) == 0:
			s.usable = true
			continue // nothing there, and to look would make the tables
		}
		if err := p.lines(ctx, path, nil, s.line); err != nil && family == IPv4 {
			return s, err
		}
		s.usable = true
	}
	return s, nil
}

// oldest is the first version whose iptables-restore waits for the lock, and that
// has MASQUERADE --random-fully.
var oldest = [3]int{1, 6, 2}

// checkVersion fails if iptables is older than that.
func (p *programs) checkVersion(backend string) error {
	path, err := p.program(TableRef{Backend: backend}, "")
	if err != nil {
		return err
	}
	t, err := iptables.New(iptables.Path(path), iptables.IPFamily(iptables.ProtocolIPv4))
	if err != nil {
		return fmt.Errorf("ask %s for its version: %w", path, err)
	}
	a, b, c := t.GetIptablesVersion()
	if slices.Compare([]int{a, b, c}, oldest[:]) < 0 {
		return fmt.Errorf("%s is version %d.%d.%d; install iptables %d.%d.%d or newer", path, a, b, c, oldest[0], oldest[1], oldest[2])
	}
	return nil
}

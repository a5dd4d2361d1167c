package felix

import (
	"context"
	"fmt"
)

// Open opens the packet filter of the network namespace of the calling thread;
// Close ends it. It reads and writes nothing of ours yet. It fails without the
// programs of iptables.
func Open(o FilterOptions) (*Filter, error) {
	if o.Host != nil {
		return newFilter(*o.Host, o.Backend), nil
	}
	p, err := openPrograms(o)
	if err != nil {
		return nil, fmt.Errorf("felix: open the network namespace: %w", err)
	}
	if o.Backend == "" {
		if o.Backend, err = p.choose(context.Background()); err != nil {
			p.close()
			return nil, fmt.Errorf("felix: choose a variant of iptables: %w", err)
		}
	}
	sets, err := openIPSets()
	if err != nil {
		p.close()
		return nil, fmt.Errorf("felix: open ipsets: %w", err)
	}
	f := newFilter(Host{p, sets}, o.Backend)
	f.close = func() {
		sets.close()
		p.close()
	}
	return f, nil
}

// choose takes the variant that the host's other programs use.
func (p *programs) choose(ctx context.Context) (string, error) {
	path, err := p.look("iptables")
	if err != nil {
		return "", err
	}
	return p.variant(path), nil
}

package stand

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
)

// Subject is a routing daemon that can be measured.
type Subject interface {
	Name() string
	Program() string
	// Start runs the daemon in w's router namespace with its files in dir, ready
	// for an iBGP session from each of the first len(shares) of w.Addrs, which
	// will announce those.
	Start(w *World, dir string, shares []Share) (*Daemon, error)
}

// Versions returns what each subject says it is.
func Versions(ctx context.Context, subjects []Subject) ([]string, error) {
	var versions []string
	for _, s := range subjects {
		// Both print it on one line or the other of the two outputs.
		v, err := exec.CommandContext(ctx, s.Program(), "--version").CombinedOutput()
		if err != nil {
			return nil, fmt.Errorf("%s --version: %w: %s", s.Program(), err, v)
		}
		versions = append(versions, strings.TrimSpace(string(v)))
	}
	return versions, nil
}

// Share is what one peer announces: /32 routes counted up from the first
// address of its block.
type Share struct {
	Block  netip.Prefix
	Routes []netip.Prefix
}

// Split deals out total /32 routes to n peers, each in the smallest block of
// 10.0.0.0/8 that holds its own.
func Split(total, n int) ([]Share, error) {
	each := total / n
	if each*n != total {
		return nil, fmt.Errorf("--routes %d cannot be divided by --peers %d", total, n)
	}
	bits := 32
	for 1<<(32-bits) < each {
		bits--
	}
	if bits < 8 || n > 1<<(bits-8) {
		return nil, fmt.Errorf("--routes %d from --peers %d do not fit into 10.0.0.0/8", total, n)
	}
	shares := make([]Share, n)
	base := uint32(10) << 24
	for i := range shares {
		shares[i].Block = netip.PrefixFrom(addr4(base), bits)
		shares[i].Routes = make([]netip.Prefix, each)
		for k := range each {
			shares[i].Routes[k] = netip.PrefixFrom(addr4(base+uint32(k)), 32)
		}
		base += 1 << (32 - bits)
	}
	return shares, nil
}

func addr4(v uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

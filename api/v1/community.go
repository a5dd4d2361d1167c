package v1

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"caracal.dev/caracal"
)

// wellKnown are the communities that have names of their own (RFC 1997, RFC
// 8326, RFC 9494).
var wellKnown = map[string]caracal.Community{
	"no-export":         caracal.NoExport,
	"no-advertise":      caracal.NoAdvertise,
	"graceful-shutdown": caracal.GracefulShutdown,
	"llgr-stale":        caracal.LLGRStale,
	"no-llgr":           caracal.NoLLGR,
}

var errCommunity = errors.New("must be two numbers up to 65535 (65000:1), three numbers up to 4294967295 (65000:1:2), or " + strings.Join(sortedKeys(wellKnown), ", "))

// parseCommunity reads a standard community (RFC 1997), a large one (RFC 8092)
// or the name of a well-known one.
func parseCommunity(s string) (caracal.Community, error) {
	if c, ok := wellKnown[s]; ok {
		return c, nil
	}
	parts := strings.Split(s, ":")
	bits := 16
	if len(parts) == 3 {
		bits = 32
	} else if len(parts) != 2 {
		return caracal.Community{}, errCommunity
	}
	var v [3]uint32
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, bits)
		if err != nil || strconv.FormatUint(n, 10) != p {
			return caracal.Community{}, errCommunity
		}
		v[i] = uint32(n)
	}
	if bits == 16 {
		return caracal.StandardCommunity(uint16(v[0]), uint16(v[1])), nil
	}
	if v[0] == 4294967295 { // RFC 8092 section 5; the speaker marks paths with it inside
		return caracal.Community{}, errors.New("must not begin with 4294967295, which is reserved")
	}
	return caracal.Community{Large: true, Value: v}, nil
}

func (c *checker) community(path, s string) {
	if s == "" {
		c.failf(path, "is missing")
	} else if _, err := parseCommunity(s); err != nil {
		c.failf(path, "%q %v", clip(s), err)
	}
}

// canonicalCommunity is the numbers of a community.
func canonicalCommunity(s string) string {
	if c, err := parseCommunity(s); err == nil {
		return c.String()
	}
	return s
}

// advertisements checks the communities that a BGPConfiguration adds.
func (c *checker) advertisements(s BGPConfigurationSpec) {
	names := map[string]bool{}
	for i, n := range s.Communities {
		path := fmt.Sprintf("spec.communities[%d]", i)
		_, err := parseCommunity(n.Name)
		switch {
		case n.Name == "":
			c.failf(path+".name", "is missing")
		case err == nil || strings.Contains(n.Name, ":"):
			c.failf(path+".name", "%q is a community itself; take another name", clip(n.Name))
		case names[n.Name]:
			c.failf(path+".name", "%q is used twice", clip(n.Name))
		}
		names[n.Name] = true
		c.community(path+".value", n.Value)
	}
	seen := map[string]bool{}
	for i, a := range s.PrefixAdvertisements {
		path := fmt.Sprintf("spec.prefixAdvertisements[%d]", i)
		if p, ok := c.prefix(path+".cidr", a.CIDR); ok {
			if seen[p.String()] {
				c.failf(path+".cidr", "%s is listed twice; give it all its communities at once", p)
			}
			seen[p.String()] = true
		}
		if len(a.Communities) == 0 {
			c.failf(path+".communities", "is missing; it lists communities, or names that spec.communities gives")
		}
		for j, v := range a.Communities {
			if _, err := parseCommunity(v); err != nil && !names[v] {
				c.failf(fmt.Sprintf("%s.communities[%d]", path, j), "%q is no name in spec.communities of this object, and as a community it %v", clip(v), err)
			}
		}
	}
}

// advertisements returns what a valid BGPConfiguration adds to prefixes, the most
// specific first.
func (s BGPConfigurationSpec) advertisements() []caracal.Advertisement {
	named := map[string]caracal.Community{}
	for _, n := range s.Communities {
		named[n.Name], _ = parseCommunity(n.Value)
	}
	var all []caracal.Advertisement
	for _, a := range s.PrefixAdvertisements {
		adv := caracal.Advertisement{CIDR: mustPrefix(a.CIDR)}
		for _, v := range a.Communities {
			com, err := parseCommunity(v)
			if err != nil {
				com = named[v]
			}
			if !slices.Contains(adv.Communities, com) {
				adv.Communities = append(adv.Communities, com)
			}
		}
		all = append(all, adv)
	}
	slices.SortFunc(all, func(a, b caracal.Advertisement) int {
		if a.CIDR.Bits() != b.CIDR.Bits() {
			return b.CIDR.Bits() - a.CIDR.Bits()
		}
		return a.CIDR.Compare(b.CIDR)
	})
	return all
}

package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/packet/bgp"
)

// open is what the neighbor said of itself in OPEN.
type open struct {
	routerID netip.Addr
	asn      uint32
	// caps are the capabilities that the neighbor announced, ours those that we
	// did, in words.
	caps, ours []string
	// restart is what it announced by its graceful restart capability
	// (RFC 4724 section 3); zero without one.
	restart time.Duration
	// families it can keep stale, and those it says it kept forwarding for.
	stale4, stale6, kept4, kept6 bool
	// longLived is how long its stale paths may be kept (RFC 9494 section 3), for
	// IPv4 and IPv6; zero if they may not.
	longLived [2]time.Duration
}

// forwarding is the F bit of a family (RFC 4724 section 3).
const forwarding = 0x80

func fromCapabilities(list []gobgp.ParameterCapabilityInterface) open {
	var o open
	for _, c := range list {
		switch v := c.(type) {
		case *gobgp.CapGracefulRestart:
			o.restart = time.Duration(v.Time) * time.Second
			for _, t := range v.Tuples {
				f := t.Flags&forwarding != 0
				switch gobgp.NewFamily(t.AFI, t.SAFI) {
				case gobgp.RF_IPv4_UC:
					o.stale4, o.kept4 = true, f
				case gobgp.RF_IPv6_UC:
					o.stale6, o.kept6 = true, f
				}
			}
		case *gobgp.CapLongLivedGracefulRestart:
			for _, t := range v.Tuples {
				switch d := time.Duration(t.RestartTime) * time.Second; gobgp.NewFamily(t.AFI, t.SAFI) {
				case gobgp.RF_IPv4_UC:
					o.longLived[0] = d
				case gobgp.RF_IPv6_UC:
					o.longLived[1] = d
				}
			}
		}
		o.caps = append(o.caps, capabilityWords(c))
	}
	slices.Sort(o.caps) // they come out of a map
	return o
}

// capabilityWords is a capability as an operator reads it.
func capabilityWords(c gobgp.ParameterCapabilityInterface) string {
	var words []string
	switch v := c.(type) {
	case *gobgp.CapGracefulRestart:
		return fmt.Sprintf("graceful-restart %ds", v.Time)
	case *gobgp.CapMultiProtocol:
		return v.CapValue.String()
	case *gobgp.CapSoftwareVersion:
		return "software " + printable(v.SoftwareVersion)
	case *gobgp.CapLongLivedGracefulRestart:
		for _, t := range v.Tuples {
			words = append(words, fmt.Sprintf("%s %ds", gobgp.NewFamily(t.AFI, t.SAFI), t.RestartTime))
		}
		return "long-lived-graceful-restart " + strings.Join(words, " ")
	case *gobgp.CapAddPath:
		for _, t := range v.Tuples {
			words = append(words, fmt.Sprintf("%s %s", t.Family, t.Mode))
		}
		return "add-path " + strings.Join(words, " ")
	}
	return c.Code().String()
}

package bgp

import (
	"fmt"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"

	"caracal.dev/caracal"
)

// This file converts policies into GoBGP's, and does nothing else.

const (
	importPolicy = "local-only"
	// relaySources is where the sources of passed-on paths have their addresses,
	// which no neighbor can have (RFC 6890).
	relaySources = "0.0.0.0/8"
	sourceSet    = "relay-sources"
	// marks matches the communities that only this process uses.
	marks = "^4294967295:"
)

// toImportPolicy keeps out of GoBGP's Loc-RIB what is not put there by us: our
// own paths are local, and those that are passed on have a source that no
// neighbor can have.
func toImportPolicy() (*api.DefinedSet, *api.Policy, *api.PolicyAssignment) {
	set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: sourceSet, List: []string{relaySources}}
	no := &api.Actions{RouteAction: api.RouteAction_ROUTE_ACTION_REJECT}
	policy := &api.Policy{Name: importPolicy, Statements: []*api.Statement{
		{Name: "internal", Actions: no, Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_INTERNAL}},
		{Name: "external", Actions: no, Conditions: &api.Conditions{
			RouteType:   api.Conditions_ROUTE_TYPE_EXTERNAL,
			NeighborSet: &api.MatchSet{Type: api.MatchSet_TYPE_INVERT, Name: sourceSet},
		}},
	}}
	return set, policy, &api.PolicyAssignment{
		Direction:     api.PolicyDirection_POLICY_DIRECTION_IMPORT,
		Policies:      []*api.Policy{{Name: importPolicy}},
		DefaultAction: api.RouteAction_ROUTE_ACTION_ACCEPT,
	}
}

// toExportPolicy makes GoBGP's policy of that name, and the sets that it refers
// to. The names of sets and statements begin with the policy's.
func toExportPolicy(name string, e exportPolicy) ([]*api.DefinedSet, *api.Policy) {
	c := &policyConversion{name: name, names: map[string]string{}}
	policy := &api.Policy{Name: name}
	for i, s := range e.statements {
		policy.Statements = append(policy.Statements, &api.Statement{
			Name: fmt.Sprintf("%s/%d", name, i), Conditions: c.conditions(s), Actions: toActions(s),
		})
	}
	return c.sets, policy
}

// toExportAssignment puts the policies into force, the first that decides.
func toExportAssignment(names ...string) *api.PolicyAssignment {
	a := &api.PolicyAssignment{
		Direction:     api.PolicyDirection_POLICY_DIRECTION_EXPORT,
		DefaultAction: api.RouteAction_ROUTE_ACTION_REJECT,
	}
	for _, n := range names {
		if n != "" {
			a.Policies = append(a.Policies, &api.Policy{Name: n})
		}
	}
	return a
}

type policyConversion struct {
	name  string
	names map[string]string // of sets, by what is in them
	sets  []*api.DefinedSet
}

func (c *policyConversion) conditions(s statement) *api.Conditions {
	out := &api.Conditions{
		RouteType: [...]api.Conditions_RouteType{
			anySource: api.Conditions_ROUTE_TYPE_UNSPECIFIED, ourOwn: api.Conditions_ROUTE_TYPE_LOCAL, passedOn: api.Conditions_ROUTE_TYPE_EXTERNAL,
		}[s.source],
	}
	if len(s.neighbors) > 0 { // an empty set would match everybody
		how := api.MatchSet_TYPE_ANY
		if s.butNot {
			how = api.MatchSet_TYPE_INVERT
		}
		var list []string
		for _, a := range s.neighbors {
			list = append(list, netip.PrefixFrom(a, a.BitLen()).String())
		}
		out.NeighborSet = c.set(api.DefinedType_DEFINED_TYPE_NEIGHBOR, how, list)
	}
	if len(s.prefixes) > 0 {
		out.PrefixSet = c.prefixes(s.prefixes)
	} else if s.family != 0 {
		family := &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
		if s.family == 6 {
			family.Afi = api.Family_AFI_IP6
		}
		out.AfiSafiIn = []*api.Family{family}
	}
	if s.asPath != "" {
		out.AsPathSet = c.set(api.DefinedType_DEFINED_TYPE_AS_PATH, api.MatchSet_TYPE_ANY, []string{s.asPath})
	}
	how, list := api.MatchSet_TYPE_ALL, s.all
	if len(s.any) > 0 {
		how, list = api.MatchSet_TYPE_ANY, s.any
	}
	standard, large := texts(list)
	if len(standard) > 0 {
		out.CommunitySet = c.set(api.DefinedType_DEFINED_TYPE_COMMUNITY, how, standard)
	}
	if len(large) > 0 {
		out.LargeCommunitySet = c.set(api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, how, large)
	}
	return out
}

// set returns a reference to the set of that content.
func (c *policyConversion) set(of api.DefinedType, how api.MatchSet_Type, list []string) *api.MatchSet {
	key := fmt.Sprint(of, list)
	if c.names[key] == "" {
		c.names[key] = fmt.Sprintf("%s/%d", c.name, len(c.sets))
		c.sets = append(c.sets, &api.DefinedSet{DefinedType: of, Name: c.names[key], List: list})
	}
	return &api.MatchSet{Type: how, Name: c.names[key]}
}

func (c *policyConversion) prefixes(list []prefixRange) *api.MatchSet {
	key := fmt.Sprint(list)
	if c.names[key] == "" {
		c.names[key] = fmt.Sprintf("%s/%d", c.name, len(c.sets))
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: c.names[key]}
		for _, p := range list {
			set.Prefixes = append(set.Prefixes, &api.Prefix{IpPrefix: p.prefix.String(), MaskLengthMin: uint32(p.min), MaskLengthMax: uint32(p.max)})
		}
		c.sets = append(c.sets, set)
	}
	return &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: c.names[key]}
}

// texts writes communities as GoBGP reads them.
func texts(list []caracal.Community) (standard, large []string) {
	for _, c := range list {
		if c.Large {
			large = append(large, c.String())
		} else {
			standard = append(standard, c.String())
		}
	}
	return standard, large
}

func toActions(s statement) *api.Actions {
	a := &api.Actions{RouteAction: [...]api.RouteAction{
		goOn: api.RouteAction_ROUTE_ACTION_UNSPECIFIED, accept: api.RouteAction_ROUTE_ACTION_ACCEPT, reject: api.RouteAction_ROUTE_ACTION_REJECT,
	}[s.decision]}
	standard, large := texts(s.add)
	if len(standard) > 0 {
		a.Community = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: standard}
	}
	if len(large) > 0 {
		a.LargeCommunity = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: large}
	}
	if s.removeMarks {
		a.LargeCommunity = &api.CommunityAction{Type: api.CommunityAction_TYPE_REMOVE, Communities: []string{marks}}
	}
	if s.dropExtended {
		a.ExtCommunity = &api.CommunityAction{Type: api.CommunityAction_TYPE_REPLACE}
	}
	if s.med != nil {
		a.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*s.med)}
	}
	if s.localPref != nil {
		a.LocalPref = &api.LocalPrefAction{Value: max(*s.localPref, 1)} // GoBGP takes 0 for none
	}
	if s.prependTimes > 0 {
		a.AsPrepend = &api.AsPrependAction{Asn: s.prepend, Repeat: uint32(s.prependTimes)}
	}
	switch s.nextHop {
	case "":
	case "self":
		a.Nexthop = &api.NexthopAction{Self: true}
	case "unchanged":
		a.Nexthop = &api.NexthopAction{Unchanged: true}
	default:
		a.Nexthop = &api.NexthopAction{Address: s.nextHop}
	}
	return a
}

package store

import (
	"strings"

	v1 "caracal.dev/caracal/api/v1"
)

// settings answers what the BGPConfigurations say for a node.
type settings struct {
	configs []*entry
	sel     []v1.Selection
	// known are the answers by the names of the configurations that apply: most
	// nodes share one.
	known map[string]v1.NodeBGP
}

func newSettings(configs []*entry) *settings {
	s := &settings{configs: configs, known: map[string]v1.NodeBGP{}}
	for _, c := range configs {
		s.sel = append(s.sel, c.Value.(*v1.BGPConfiguration).Selection())
	}
	return s
}

// of returns the settings of a node and which configuration gave its router ID;
// nil if none did.
func (s *settings) of(n *v1.NodeConfig) (v1.NodeBGP, *entry) { return s.named(n.Name, n.Labels) }

func (s *settings) named(name string, labels map[string]string) (v1.NodeBGP, *entry) {
	var applied []*v1.BGPConfiguration
	var names []string
	var from *entry
	for i, c := range s.configs {
		if !s.sel[i].Selects(name, labels) {
			continue
		}
		config := c.Value.(*v1.BGPConfiguration)
		applied = append(applied, config)
		names = append(names, config.Name)
		if config.Spec.RouterID != "" && (from == nil || from.Name == v1.DefaultName) {
			from = c
		}
	}
	key := strings.Join(names, " ")
	r, ok := s.known[key]
	if !ok {
		r = v1.ResolveBGP(applied)
		s.known[key] = r
	}
	return r, from
}

package endpoint

import (
	"maps"
	"slices"
	"strings"

	"caracal.dev/caracal"
)

// spaces counts the groups of each namespace, and is the namespaces of the
// Snapshot with those that only endpoints are in.
type spaces struct {
	groups map[string]int
	// base are the store's, as merged holds them.
	base, merged caracal.Table[string, caracal.Namespace]
}

// count notes that a group of a workload came (1) or went (-1).
func (s *spaces) count(workload string, by int) {
	name, _, _ := strings.Cut(workload, "/")
	if s.groups == nil {
		s.groups = map[string]int{}
	}
	if s.groups[name] += by; s.groups[name] <= 0 {
		delete(s.groups, name)
		if _, stored := s.base.Get(name); !stored {
			s.merged = s.merged.Delete(name)
		}
	} else if _, known := s.merged.Get(name); !known {
		s.merged = s.merged.Put(name, mentioned(name))
	}
}

// rebase takes the store's namespaces.
func (s *spaces) rebase(base caracal.Table[string, caracal.Namespace]) {
	s.base, s.merged = base, base
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		if _, stored := base.Get(name); !stored {
			s.merged = s.merged.Put(name, mentioned(name))
		}
	}
}

// mentioned is a namespace that nothing is known of but its name.
func mentioned(name string) caracal.Namespace {
	return caracal.Namespace{Name: name, Labels: map[string]string{caracal.NamespaceNameLabel: name}}
}

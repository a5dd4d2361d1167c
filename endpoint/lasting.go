package endpoint

import (
	"context"
	"time"

	"caracal.dev/caracal"
)

// lasting is what a start found wrong, and until when that is so. One of the three
// says what it is about.
type lasting struct {
	problem caracal.Problem
	// An endpoint, as it was added then.
	key   key
	added time.Time
	// An interface that no endpoint on record has.
	link string
	// A handle that still has addresses.
	handle string
}

func ofEndpoint(e *Endpoint, message string) lasting {
	return lasting{problem: trouble(e.Key(), message), key: e.key(), added: e.Added}
}

// lasts reports whether it still is so. owned are the interfaces of all endpoints, and
// orphans the handles without an endpoint.
func (l lasting) lasts(links, owned map[string]bool, orphans map[string]watch, is *Endpoint) bool {
	switch {
	case l.link != "":
		_, there := links[l.link]
		return there && !owned[l.link]
	case l.handle != "":
		_, left := orphans[l.handle]
		return left
	}
	return is != nil && is.Added.Equal(l.added)
}

// review forgets what a start found wrong and what is so no longer, since the
// container is gone or was made anew.
func (r *Registry) review(ctx context.Context, links map[string]bool) {
	if len(r.lasting) == 0 {
		return
	}
	owned := map[string]bool{}
	for _, e := range r.List() {
		owned[e.HostInterface()] = true
	}
	var left []lasting
	for _, l := range r.lasting {
		if l.lasts(links, owned, r.orphans, r.get(l.key)) || l.link != "" && r.freeLost(ctx, l.link) != nil {
			left = append(left, l)
		}
	}
	r.tell(left)
}

// tell publishes what a start found wrong.
func (r *Registry) tell(list []lasting) {
	r.lasting = list
	var problems []caracal.Problem
	for _, l := range list {
		problems = append(problems, l.problem)
	}
	r.overlay.report("start", problems)
}

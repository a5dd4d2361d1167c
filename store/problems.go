package store

import (
	"cmp"
	"slices"
	"time"

	"caracal.dev/caracal"
)

// Dated puts Problems into order, each once. One that was there before, in prev, keeps
// its Since; another one is of now, unless it says itself since when it is. The list is
// changed.
func Dated(prev, list []caracal.Problem, now time.Time) []caracal.Problem {
	since := make(map[caracal.Problem]time.Time, len(prev))
	for _, p := range prev {
		was := p.Since
		p.Since = time.Time{}
		since[p] = was
	}
	for i, p := range list {
		at := p.Since
		p.Since = time.Time{}
		switch was, ok := since[p]; {
		case ok:
			list[i].Since = was
		case at.IsZero():
			list[i].Since = now
		}
	}
	slices.SortStableFunc(list, func(a, b caracal.Problem) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(list)
}

package report

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// Notice is something that an operator must see: it becomes an Event.
type Notice struct {
	// Reason is one word for programs.
	Reason string
	// Kind and Name are those of the object it is about, the name with the namespace
	// and a slash before it where the kind has one; the Node itself if empty.
	Kind, Name string
	Message    string
	// Everywhere says that each node sees the same: one of them tells of it.
	Everywhere bool
}

// Reasons of Events.
const (
	ReasonSessionDown = "BGPSessionDown"
	ReasonRejected    = "Rejected"
	ReasonHeld        = "RemovalHeld"
	ReasonPolicy      = "PolicyNotInForce"
	ReasonExhausted   = "AddressesExhausted"
	ReasonAddress     = "NodeAddressUnfit"
)

// Bounds of notices.
const (
	// downFor is how long a session must be down to be told of.
	downFor = time.Minute
	// eachSession is up to how many sessions are told of one by one.
	eachSession = 3
)

// id names a notice: while it lasts it is one and the same. The words about a
// session may change meanwhile.
func (n Notice) id() string {
	if n.Reason == ReasonSessionDown || n.Reason == ReasonPolicy || n.Reason == ReasonExhausted {
		return n.Reason + "\n" + n.Kind + "\n" + n.Name + "\n" + strings.SplitN(n.Message, " ", 2)[0]
	}
	return n.Reason + "\n" + n.Kind + "\n" + n.Name + "\n" + n.Message
}

// hash makes a part of an Event's name of a notice's id.
func (n Notice) hash(node string) string {
	h := fnv.New64a()
	h.Write([]byte(n.id()))
	if !n.Everywhere {
		h.Write([]byte("\n" + node))
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// notices are those of a moment.
func notices(f facts, now time.Time) []Notice {
	out := slices.Clone(f.extra)
	out = append(out, sessionsDown(f.neighbors, f.down, now)...)
	for _, p := range f.status.Problems {
		if n, ok := noticeOf(p); ok {
			out = append(out, n)
		}
	}
	if p := f.status.Policy; p.Problem != "" && now.Sub(p.FailingSince) > 10*time.Second {
		out = append(out, Notice{Reason: ReasonPolicy, Message: "NetworkPolicies are not in force as they should be: " + p.Problem})
	}
	return out
}

// noticeOf is the notice about an object that was refused or held.
func noticeOf(p caracal.Problem) (Notice, bool) {
	n := Notice{Kind: p.Kind, Name: p.Name, Message: p.Message, Everywhere: true}
	switch p.Severity {
	case caracal.Rejected:
		n.Reason = ReasonRejected
	case caracal.Held:
		n.Reason, n.Kind, n.Name, n.Everywhere = ReasonHeld, "", "", false
	default:
		return n, false
	}
	return n, true
}

// sessionsDown tells of those that are down for long; since says when each was seen
// to be so first.
func sessionsDown(list []api.Neighbor, since map[string]time.Time, now time.Time) (out []Notice) {
	var down []api.Neighbor
	for _, n := range list {
		if at, ok := since[n.Name]; ok && now.Sub(at) > downFor {
			down = append(down, n)
		}
	}
	slices.SortFunc(down, func(a, b api.Neighbor) int { return cmp.Compare(a.Name, b.Name) })
	if len(down) > eachSession {
		var names []string
		for _, n := range down[:eachSession] {
			names = append(names, n.Name)
		}
		return []Notice{{Reason: ReasonSessionDown, Message: fmt.Sprintf("Many BGP sessions are down for over %s: %d of %d, %s and others; caracal show neighbors says why",
			downFor, len(down), len(list), strings.Join(names, ", "))}}
	}
	for _, n := range down {
		text := fmt.Sprintf("%s with %s (AS %d) is a BGP session that is down for over %s", n.Name, address(n.Addr), n.ASN, downFor)
		if why := n.LastError; why != "" {
			text += ": " + why
		}
		out = append(out, Notice{Reason: ReasonSessionDown, Message: text})
	}
	return out
}

// noteDown brings since up to date: the sessions that are down, those that somebody
// disabled aside.
func noteDown(since map[string]time.Time, list []api.Neighbor, now time.Time) {
	is := map[string]bool{}
	for _, n := range list {
		if n.State == bgp.Established || n.State == bgp.Disabled {
			continue
		}
		is[n.Name] = true
		if _, ok := since[n.Name]; !ok {
			since[n.Name] = now
		}
	}
	maps.DeleteFunc(since, func(name string, _ time.Time) bool { return !is[name] })
}

// told is which notices were told of, and when each may be.
type told struct {
	// open are those that last, by id.
	open map[string]*open
	// left is how many may still be told of now; refilled over time.
	left     float64
	refilled time.Time
}

// open is a notice that lasts.
type open struct {
	due  time.Time // when it may be told
	sent bool
	seen time.Time // last
}

// Limits of Events of one node.
const (
	burst    = 10
	perEvent = 30 * time.Second
	// forget is how long a notice must be gone to be told of again when it returns.
	forget = 10 * time.Minute
)

// next returns the notices to be told of now. delay is drawn for each new one.
func (t *told) next(list []Notice, now time.Time, delay func() time.Duration) (out []Notice) {
	if t.open == nil {
		t.open, t.left, t.refilled = map[string]*open{}, burst, now
	}
	t.left = min(burst, t.left+now.Sub(t.refilled).Seconds()/perEvent.Seconds())
	t.refilled = now
	for _, n := range list {
		o := t.open[n.id()]
		if o == nil {
			o = &open{due: now.Add(delay())}
			t.open[n.id()] = o
		}
		o.seen = now
		if !o.sent && !now.Before(o.due) && t.left >= 1 {
			t.left--
			o.sent = true
			out = append(out, n)
		}
	}
	for id, o := range t.open {
		if !o.seen.Equal(now) && (now.Sub(o.seen) > forget || !o.sent) {
			delete(t.open, id)
		}
	}
	return out
}

// failed lets a notice be told of again later.
func (t *told) failed(n Notice, at time.Time) {
	if o := t.open[n.id()]; o != nil {
		o.sent, o.due = false, at
	}
}

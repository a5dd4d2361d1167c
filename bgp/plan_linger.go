package bgp

import (
	"fmt"
	"strings"
	"time"

	"caracal.dev/caracal"
)

// This file keeps sessions that the configuration no longer has until those are
// there that take their place, so that moving a running cluster from the mesh
// to reflectors, or back, loses no packet. After a restart of the daemon there
// is nothing to keep.

const (
	// settleTime is how long what replaces a session must have been there: time
	// for the paths to get through reflectors to the farthest node.
	settleTime = 10 * time.Second
	// silentTime is the same where a node announced nothing whose coming by a
	// reflector could prove that it has one.
	silentTime = time.Minute
	// reflectTime is how long a node that is a reflector no longer serves its
	// clients on: they need a mesh first.
	reflectTime = time.Minute
	// roleTime is how long a neighbor that was a reflector may still announce what
	// all nodes own: its own configuration may be old yet.
	roleTime = 10 * time.Minute
	// lookTime is between two looks at what is waited for, and lookEach what each
	// neighbor adds to it: planning costs time in proportion to them.
	lookTime = time.Second
	lookEach = 5 * time.Millisecond
)

// linger adds what must stay of the last configuration.
func (p *planner) linger() {
	last := p.facts.Last
	if len(last.Neighbors) == 0 {
		return
	}
	if !p.self.ClusterID.IsValid() && last.ClusterID.IsValid() {
		if end := deadline(last.Reflects, p.facts.Now, reflectTime); end.After(p.facts.Now) {
			p.reflects = end
			p.wakeAt(end)
		}
	}
	names := make(map[string]bool, len(p.byAddr))
	for _, n := range p.byAddr {
		names[n.Name] = true
	}
	r := p.replacement()
	kept := map[string][]string{} // names by what is waited for
	for _, n := range last.Neighbors {
		now, taken := p.byAddr[n.Addr]
		switch {
		case taken && now.Name == n.Name:
			p.keepRole(n, now)
		case taken || names[n.Name] || !p.remains(n):
		default:
			if why, until := p.keeps(n, r); why != "" {
				kept[why] = append(kept[why], n.Name)
				p.byAddr[n.Addr], p.lingers[n.Name] = n, until
			}
		}
	}
	for why, names := range kept {
		p.warn("BGP", names[0], "%s stay although the configuration no longer has them, %s", some(names), why)
	}
}

// some lists a few names and says how many there are beyond.
func some(names []string) string {
	const few = 4
	if len(names) <= few+1 {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// deadline is the time that was set, or else one from now on.
func deadline(set, now time.Time, after time.Duration) time.Time {
	if set.IsZero() {
		return now.Add(after)
	}
	return set
}

func (p *planner) wakeAt(t time.Time) {
	if p.wake.IsZero() || t.Before(p.wake) {
		p.wake = t
	}
}

// look has Plan asked again soon.
func (p *planner) look() {
	p.wakeAt(p.facts.Now.Add(max(lookTime, time.Duration(len(p.byAddr))*lookEach)))
}

// remains reports whether both ends are still where they were.
func (p *planner) remains(n Neighbor) bool {
	if n.Node == "" {
		return true
	}
	if n.Local != p.self.IPv4.Addr() && n.Local != p.self.IPv6.Addr() {
		return false
	}
	node, ok := p.s.Nodes.Get(n.Node)
	return ok && (node.IPv4.Addr() == n.Addr || node.IPv6.Addr() == n.Addr)
}

// keepRole lets a neighbor be for a while what it was: a client until it can do
// without us, a reflector until it has ceased to be one.
func (p *planner) keepRole(was, now Neighbor) {
	if was.Client && !now.Client && !p.reflects.IsZero() {
		now.Client = true
	}
	if was.Reflector && !now.Reflector && was.Node != "" {
		end := deadline(p.facts.Last.Lingers[was.Name], p.facts.Now, roleTime)
		if end.After(p.facts.Now) {
			now.Reflector = true
			if was.MaxPrefixes > now.MaxPrefixes {
				now.MaxPrefixes, now.WarnPrefixes = was.MaxPrefixes, was.WarnPrefixes
			}
			p.lingers[was.Name] = end
			p.wakeAt(end)
		}
	}
	p.byAddr[now.Addr] = now
}

// replacement is the state of the sessions that are wanted.
type replacement struct {
	// reflectors says that there are some that reflect to us, waiting which of
	// them has not done so for settleTime.
	reflectors bool
	waiting    string
	// fresh says that there are sessions with nodes or reflectors that the last
	// configuration did not have, settled that all such are up.
	fresh, settled bool
	// used are the reflectors that some node has.
	used map[string]bool
}

func (p *planner) replacement() replacement {
	r := replacement{settled: true, used: map[string]bool{}}
	had := make(map[string]bool, len(p.facts.Last.Neighbors))
	for _, n := range p.facts.Last.Neighbors {
		had[n.Name] = true
	}
	for _, n := range p.byAddr {
		settled := p.settled(n.Name)
		if n.Reflector {
			r.reflectors = true
			if !settled && (r.waiting == "" || n.Name < r.waiting) {
				r.waiting = n.Name
			}
		}
		if n.Node != "" || n.Reflector {
			r.fresh = r.fresh || !had[n.Name]
			r.settled = r.settled && settled
		}
	}
	for _, node := range p.s.Nodes.All() {
		for _, name := range node.Reflectors {
			r.used[name] = true
		}
	}
	return r
}

// settled reports whether a neighbor has sent all it had settleTime ago.
func (p *planner) settled(name string) bool {
	f := p.facts.Sessions[name]
	return f.Established && !f.EndOfRIB.IsZero() && p.facts.Now.Sub(f.EndOfRIB) >= settleTime
}

// covered reports whether a neighbor's paths have come another way as well for
// long enough.
func (p *planner) covered(name string) bool {
	since, ok := p.facts.Covered[name]
	f := p.facts.Sessions[name]
	if f.Established && f.Silent {
		return ok && p.facts.Now.Sub(since) >= silentTime
	}
	return ok && p.facts.Now.Sub(since) >= settleTime
}

// keeps says what must happen before a neighbor that is no longer wanted may
// go, and until when it stays at most; "" if it goes now.
func (p *planner) keeps(n Neighbor, r replacement) (why string, until time.Time) {
	switch {
	case n.Client && n.Node != "":
		until, why = p.keepsClient(n)
	case n.Reflector:
		until, why = p.keepsReflector(n, r)
	case n.Node != "" && n.Peer == "":
		return p.keepsMesh(n, r)
	}
	if !until.After(p.facts.Now) || !p.facts.Sessions[n.Name].Established {
		return "", time.Time{}
	}
	p.look()
	return why, until
}

// keepsClient serves one that may need us until it has other sessions. Only it
// knows when, and closes the session then.
func (p *planner) keepsClient(n Neighbor) (time.Time, string) {
	until := deadline(p.facts.Last.Lingers[n.Name], p.facts.Now, reflectTime)
	return until, fmt.Sprintf("until they have closed the session, or %s at most", reflectTime)
}

// keepsReflector keeps one whose paths new sessions will bring.
func (p *planner) keepsReflector(n Neighbor, r replacement) (time.Time, string) {
	set, waiting := p.facts.Last.Lingers[n.Name]
	if r.settled || !waiting && !r.fresh {
		return time.Time{}, ""
	}
	return deadline(set, p.facts.Now, p.s.BGP.RestartTime), fmt.Sprintf(
		"until the sessions that take their place have been up for %s, or %s at most", settleTime, p.s.BGP.RestartTime)
}

// keepsMesh keeps a session of the mesh until reflectors have taken its place.
// That the neighbor's paths come by a reflector shows that it has one, so that
// ours get to it as well. There is no limit to that, unless it is an operator
// who ended the mesh.
func (p *planner) keepsMesh(n Neighbor, r replacement) (string, time.Time) {
	now, until := p.facts.Now, time.Time{}
	node, _ := p.s.Nodes.Get(n.Node)
	if !p.meshOn() || !node.MeshEnabled {
		until = deadline(p.facts.Last.Lingers[n.Name], now, p.s.BGP.RestartTime)
		if !r.reflectors || !until.After(now) {
			return "", time.Time{}
		}
	} else if !r.attached(p.self) || !r.attached(node) {
		return "until a BGPPeer gives both ends a route reflector", time.Time{} // a change of the configuration
	}
	why := ""
	switch {
	case r.waiting != "":
		why = fmt.Sprintf("until the route reflector %s has been up, with all its routes, for %s", r.waiting, settleTime)
	case !p.covered(n.Name):
		why = fmt.Sprintf("until all their routes have come by a route reflector as well for %s", settleTime)
	default:
		return "", time.Time{}
	}
	p.look()
	return why, until
}

// attached reports whether reflectors speak for a node, or it is one that
// somebody uses.
func (r replacement) attached(node caracal.Node) bool {
	return len(node.Reflectors) > 0 || node.ClusterID.IsValid() && r.used[node.Name]
}

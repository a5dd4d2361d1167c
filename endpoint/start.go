package endpoint

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// found is what a start finds: records, allocations, and what exists.
type found struct {
	records     []*Endpoint
	damaged     []damaged
	allocations []ipam.Allocation
	bootID      string
	links       map[string]bool
	addrsOf     func(link string) ([]netip.Addr, error)
	now         time.Time
}

// beginning is what a start makes of it.
type beginning struct {
	keep []*Endpoint
	// promoted are those of keep that were pending, and are ready.
	promoted []*Endpoint
	// free are to be removed: they are of an earlier boot, or were being removed.
	free []*Endpoint
	// rebuilt are endpoints whose record was lost, as the allocator knows them.
	rebuilt []*Endpoint
	// release are handles of which no endpoint was ever answered for.
	release  []string
	problems []lasting
	// kept are the addresses of containers of which no record is left.
	kept []ipam.Allocation
}

// planBegin is pure. A lost record is made anew if the link is there: its
// container lives, and has its addresses.
func planBegin(f found) beginning {
	var b beginning
	owned := map[string]bool{}
	for _, e := range f.records {
		owned[e.Handle()] = true
		if e.BootID != f.bootID || e.State == Deleting {
			b.free = append(b.free, e)
			continue
		}
		if _, there := f.links[e.HostInterface()]; there && e.State == Pending {
			// It is wired, and may have been told that it is ready.
			next := *e
			next.State, next.ReadyAt = Ready, f.now
			e = &next
			b.promoted = append(b.promoted, e)
		}
		b.keep = append(b.keep, e)
	}
	lost := map[string]damaged{}
	for _, d := range f.damaged {
		lost[d.hostInterface] = d
	}
	for handle, e := range unowned(f, owned) {
		link := e.HostInterface()
		if _, there := f.links[link]; !there || e.ContainerID == "" {
			b.release = append(b.release, handle)
			delete(lost, link) // nobody is left who could miss it
			continue
		}
		b.rebuilt = append(b.rebuilt, e)
		b.problems = append(b.problems, ofEndpoint(e, fmt.Sprintf(
			"the record of container %s was lost; it was made again from its addresses and its link %s, without labels and MTU, until the container is made anew", e.ID, link)))
		delete(lost, link)
	}
	for _, d := range lost {
		if _, there := f.links[d.hostInterface]; there {
			b.loseTrack(f, d)
		}
	}
	b.keepLost(f)
	slices.SortFunc(b.rebuilt, byAge)
	slices.Sort(b.release)
	return b
}

// unowned are the allocations of containers that have no record, by handle, as
// endpoints.
func unowned(f found, owned map[string]bool) map[string]*Endpoint {
	out := map[string]*Endpoint{}
	for _, a := range f.allocations {
		if owned[a.Handle] || a.Owner.Kind != KindCNI && a.Owner.Kind != KindAttach {
			continue
		}
		e := out[a.Handle]
		if e == nil {
			e = &Endpoint{
				ID:   ID{a.Owner.ContainerID, a.Owner.Interface, networkOf(a)},
				Kind: a.Owner.Kind, State: Ready, NetNS: a.Owner.NetNS, BootID: f.bootID,
				Namespace: a.Owner.Namespace, WorkloadName: a.Owner.Name, Added: a.Since, ReadyAt: f.now,
			}
			out[a.Handle] = e
		}
		e.Addrs = append(e.Addrs, a.Addr)
		e.Pools = append(e.Pools, a.Pool)
	}
	return out
}

// networkOf reads the network's name out of a handle of CNI.
func networkOf(a ipam.Allocation) string {
	if a.Owner.Kind != KindCNI {
		return ""
	}
	rest := strings.TrimPrefix(a.Handle, KindCNI+"/")
	return strings.TrimSuffix(rest, "/"+a.Owner.ContainerID+"/"+a.Owner.Interface)
}

func trouble(name, message string) caracal.Problem {
	return caracal.Problem{Severity: caracal.Warning, Kind: "Endpoint", Name: name, Message: message}
}

// begin brings records, allocations and what exists together; false if ctx ended
// before. Until that is done nothing is removed on account of what is missing.
func (r *Registry) begin(ctx context.Context) bool {
	bell := r.overlay.Subscribe()
	failures := 0
	for {
		err := r.tryBegin(ctx)
		if err == nil {
			return true
		}
		var retry <-chan time.Time
		if !errors.Is(err, errUnconfigured) {
			failures++
			retry = time.After(min(time.Second<<min(failures-1, 5), 30*time.Second))
			r.o.Log.Error("endpoint: the start is held up; tried again", "err", err)
		}
		r.mu.Lock()
		r.why = err.Error()
		r.mu.Unlock()
		if r.o.Source.Snapshot().Synced {
			r.overlay.incomplete(err.Error())
		}
		select {
		case <-ctx.Done():
			return false
		case <-retry:
		case <-bell:
			if retry != nil {
				select {
				case <-ctx.Done():
					return false
				case <-retry:
				}
			}
		}
	}
}

// errUnconfigured ends a try to begin without a node to begin for.
var errUnconfigured = errors.New("the configuration does not say yet which addresses this node has")

func (r *Registry) tryBegin(ctx context.Context) error {
	began := time.Now()
	f := found{now: r.o.Now(), addrsOf: r.o.AddrsOf}
	var err error
	if f.bootID, err = r.o.Ground.BootID(); err != nil {
		return err
	}
	r.bootID = f.bootID
	if f.records, err = r.readRecords(); err != nil {
		return fmt.Errorf("read the records of endpoints in %s: %w", r.dir.path, err)
	}
	f.damaged = r.damaged
	r.configure()
	if r.plan.Load() == nil {
		return errUnconfigured
	}
	if f.links, err = r.o.Ground.Links(); err != nil {
		return err
	}
	f.allocations, err = r.allocations(ctx, awayWait)
	if away := errors.Is(err, errAway); away {
		// The containers that there are need nobody's leave: the rest is for hear.
		r.deaf(err)
		f.damaged = nil
	} else if err != nil {
		return fmt.Errorf("read which addresses are in use: %w", err)
	}
	b := planBegin(f)
	r.kept = b.kept
	r.tell(append(b.problems, r.carryOut(ctx, b)...))
	if r.unheard.Load() == nil {
		r.reassert(ctx, r.kept)
		r.claim(ctx)
	}
	r.noteOwed()
	r.begun.Store(true)
	r.applyQueue(ctx)
	r.overlay.load()
	r.o.Log.Info("endpoints adopted", "count", len(r.List()), "freed", len(b.free), "rebuilt", len(b.rebuilt),
		"without owner", len(b.release), "took", time.Since(began).Round(time.Millisecond))
	return nil
}

// readRecords reads the records once, and publishes those that have routes.
func (r *Registry) readRecords() ([]*Endpoint, error) {
	if r.haveRecords {
		return r.List(), nil
	}
	list, bad, err := r.dir.load()
	r.damaged = append(r.damaged, bad...) // set aside, so not found again
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		r.put(e)
	}
	r.haveRecords = true
	r.overlay.set(r.published(list)...)
	return list, nil
}

// published are those that have routes: what was ready in this boot.
func (r *Registry) published(list []*Endpoint) (out []*Endpoint) {
	for _, e := range list {
		if e.State == Ready && e.BootID == r.bootID {
			out = append(out, e)
		}
	}
	return out
}

// carryOut is for a start at which nothing else is done yet. What fails is left to
// the audit, or to the next start.
func (r *Registry) carryOut(ctx context.Context, b beginning) (problems []lasting) {
	failed := func(e *Endpoint, err error) {
		problems = append(problems, ofEndpoint(e, "at the start of the daemon: "+err.Error()))
	}
	for _, e := range b.rebuilt {
		if e.NetNSID, _ = r.o.Ground.NetNS(e.NetNS); e.MTU == 0 {
			e.MTU = defaultMTU
		}
		if err := r.save(e); err != nil {
			failed(e, err)
		}
		r.put(e)
		r.overlay.set(e)
	}
	for _, e := range b.promoted {
		if err := r.save(e); err != nil {
			failed(e, err)
		}
		r.put(e)
	}
	r.overlay.set(b.promoted...)
	for _, e := range b.free {
		if _, err := r.finish(ctx, e); err != nil && !errors.Is(err, errAway) {
			failed(e, err)
		}
	}
	for _, h := range b.release {
		addrs, err := r.releaseUnknown(ctx, h)
		if err != nil {
			problems = append(problems, lasting{handle: h, problem: trouble(h, "at the start of the daemon: "+err.Error())})
			continue
		}
		r.o.Log.Warn("endpoint: addresses of a container that was never wired up are free again", "handle", h, "addresses", addrs)
	}
	return problems
}

// reassert has the allocator know of all addresses that endpoints have: its
// records may be older than ours, or damaged. What is still to be removed has its
// addresses, too, and so has what is kept.
func (r *Registry) reassert(ctx context.Context, kept []ipam.Allocation) {
	var known []ipam.Allocation
	list := r.List()
	for _, e := range list {
		for i, a := range e.Addrs {
			k := ipam.Allocation{Addr: a, Handle: e.Handle(), Owner: e.owner(), Node: r.self(), Since: e.Added}
			if i < len(e.Pools) {
				k.Pool = e.Pools[i]
			}
			known = append(known, k)
		}
	}
	known = append(known, kept...)
	var problems []caracal.Problem
	if err := r.o.IPAM.Adopt(ctx, known); r.isAway(err) {
		problems = append(problems, trouble("", "the addresses of containers are not compared with the address records; tried again: "+err.Error()))
	} else if err != nil {
		problems = append(problems, trouble("", "addresses that containers have are not theirs in the address records; make these containers anew: "+err.Error()))
	}
	r.refused.Store(problems != nil)
	r.overlay.report("reassert", problems)
	for _, e := range list {
		if r.get(e.key()) == nil { // it went meanwhile, perhaps before its addresses came back
			_, _ = r.giveBack(ctx, e.Handle()) // the next start frees what is of nobody
		}
	}
}

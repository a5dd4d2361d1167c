package endpoint

import (
	"context"
	"fmt"

	"caracal.dev/caracal"
	"caracal.dev/caracal/ipam"
)

// kindLost owns the addresses of containers of which no record is left: that of the
// endpoint and that of its addresses were lost together. They are kept under the name
// of the link for as long as that is there, or somebody else would be given them.
const kindLost = "unknown container"

func lostHandle(link string) string { return "lost/" + link }

// loseTrack is for a container with a link whose record cannot be used, and for which
// nothing is allocated. What the kernel knows of its addresses is kept.
func (b *beginning) loseTrack(f found, d damaged) {
	text := fmt.Sprintf("record %s cannot be used: %s. Its container still has the link %s, but ", d.file, d.reason, d.hostInterface)
	var err error
	n := len(b.kept)
	if f.addrsOf != nil {
		addrs, aerr := f.addrsOf(d.hostInterface)
		for _, a := range addrs {
			b.kept = append(b.kept, ipam.Allocation{Addr: a, Handle: lostHandle(d.hostInterface), Since: f.now,
				Owner: ipam.Owner{Kind: kindLost, Interface: d.hostInterface}})
		}
		err = aerr
	}
	switch kept := b.kept[n:]; {
	case err != nil:
		text += fmt.Sprintf("its address is not known (%v)", err)
	case len(kept) == 0:
		text += "its address is not known"
	default:
		text += "no route: nobody else is given its address " + kept[0].Addr.String()
	}
	b.problems = append(b.problems, lasting{link: d.hostInterface, problem: trouble("", text+": make the container anew")})
}

// keepLost is for addresses that an earlier start kept. They are free once the link is
// gone, or has a record again.
func (b *beginning) keepLost(f found) {
	owned, told := map[string]bool{}, map[string]bool{}
	for _, e := range f.records {
		owned[e.HostInterface()] = true
	}
	for _, a := range f.allocations {
		link := a.Owner.Interface
		if a.Owner.Kind != kindLost {
			continue
		}
		_, there := f.links[link]
		switch {
		case !told[link] && (!there || owned[link]):
			b.release = append(b.release, a.Handle)
		case !told[link]:
			b.problems = append(b.problems, lasting{link: link, problem: trouble("", fmt.Sprintf(
				"the container with the link %s and the address %s has no record, and no route: make the container anew", link, a.Addr))})
		}
		if told[link] = true; there && !owned[link] {
			b.kept = append(b.kept, a)
		}
	}
}

// freeLost frees what is kept for a link that is gone, or has a record again.
func (r *Registry) freeLost(ctx context.Context, link string) error {
	if caracal.IsHostInterface(link) {
		if _, err := r.releaseUnknown(ctx, lostHandle(link)); err != nil {
			return err
		}
	}
	var left []ipam.Allocation
	for _, k := range r.kept {
		if k.Owner.Interface != link {
			left = append(left, k)
		}
	}
	r.kept = left
	return nil
}

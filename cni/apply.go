package cni

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Wire makes the link of a container's interface as it should be, in the network
// namespace at a path. What is right already stays as it is: a second call
// writes nothing. It returns the steps that it did. After an error the link may
// be half made; a later call completes it, [Unwire] removes it.
//
// The calling thread's network namespace is the host's. Wire needs the
// capabilities NET_ADMIN, and SYS_ADMIN to enter the namespace.
func Wire(ctx context.Context, netns string, want Spec) ([]Step, error) {
	done, err := wire(ctx, netns, want, hooks{})
	if err != nil {
		return done, fmt.Errorf("cni: wire %s of container %s: %w", want.IfName, want.ContainerID, err)
	}
	return done, nil
}

// hooks are what others do while a link is wired; nil is nothing.
type hooks struct {
	before func(Step) error // before each step
	// then comes after the steps, while the kernel puts them into effect.
	then func() error
}

// wire is Wire with hooks.
func wire(ctx context.Context, netns string, want Spec, also hooks) ([]Step, error) {
	k, err := openKernel(netns)
	if err != nil {
		return nil, err
	}
	defer k.close()
	have, err := k.read(want)
	if err != nil {
		return nil, err
	}
	steps, err := Plan(have, want)
	if err != nil {
		return nil, err
	}
	n, err := k.apply(ctx, steps, want, also.before)
	if err == nil && also.then != nil {
		err = also.then()
	}
	if err == nil && n > 0 {
		err = k.settle(ctx, want)
	}
	return steps[:n], err
}

// settleTimeout bounds the wait for what the kernel does by itself in any case.
const settleTimeout = 500 * time.Millisecond

// settle waits until both ends carry packets, since two things are done by
// workers of the kernel, which wait for the lock that all changes of links take:
// an end that went up without carrier drops what it is to send until its carrier
// was noticed (net/core/link_watch.c), and an IPv6 address is local only some
// time after it was added, also where nothing is detected (addrconf_dad_start in
// net/ipv6/addrconf.c). As a rule that takes less than a millisecond. While many
// namespaces come and go it may take seconds; that is no reason to fail, as only
// a container that is very quick would notice.
func (k *kernel) settle(ctx context.Context, want Spec) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		ok, err := k.settled(want)
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// apply does the steps, first the host's, and returns how many it did. It stops
// at the first that fails: later ones build on it.
func (k *kernel) apply(ctx context.Context, steps []Step, want Spec, before func(Step) error) (int, error) {
	host := 0
	for host < len(steps) && steps[host].Host {
		host++
	}
	n, err := k.applySide(ctx, k.host, steps[:host], want, before)
	if err != nil || host == len(steps) {
		return n, err
	}
	var m int
	err = inside(k.ns, func() error {
		m, err = k.applySide(ctx, k.pod, steps[host:], want, before)
		return err
	})
	return n + m, err
}

// applySide does the steps of one side; the thread is in its namespace.
func (k *kernel) applySide(ctx context.Context, h *netlink.Handle, steps []Step, want Spec, before func(Step) error) (int, error) {
	links := map[string]netlink.Link{} // the interfaces that the steps are about
	for i, s := range steps {
		err := ctx.Err()
		if err == nil && before != nil {
			err = before(s)
		}
		if err == nil && s.Op == OpMakePair {
			err = k.makePair(want)
		} else if err == nil {
			err = changeLink(h, links, s)
		}
		if err != nil {
			return i, fmt.Errorf("%s: %w", s, advised(err))
		}
	}
	return len(steps), nil
}

// changeLink does a step on an interface that it looks up only the first time.
func changeLink(h *netlink.Handle, links map[string]netlink.Link, s Step) (err error) {
	link := links[s.Link]
	if link == nil {
		if link, err = h.LinkByName(s.Link); err != nil {
			return err
		}
	}
	links[s.Link] = link
	if s.Op == OpRemovePair {
		delete(links, s.Link) // the next of that name is another
	}
	return change(h, link, s)
}

// advised adds what to do to errors that have one cause.
func advised(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w (needs the capability NET_ADMIN)", err)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%w (/proc/sys is mounted read-only: mount it writable for the container runtime)", err)
	}
	return err
}

// Unwire removes the link of a container's interface: the host's end, and with it
// the one in the container, whether or not its namespace still exists. One that
// is not there is no error. Only an interface whose name is derived from this
// container is touched ([caracal.HostInterface]).
func Unwire(ctx context.Context, containerID, ifname string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("cni: unwire %s of container %s: %w", ifname, containerID, err)
	}
	if err := removeHostInterface(containerID, ifname); err != nil {
		return fmt.Errorf("cni: unwire %s of container %s: %w", ifname, containerID, err)
	}
	return nil
}

// Inspect reads what there is of a container's link, for a comparison by [Plan].
// An error that wraps [fs.ErrNotExist] says that the namespace is gone.
func Inspect(ctx context.Context, netns string, want Spec) (State, error) {
	s, err := inspect(ctx, netns, want)
	if err != nil {
		return State{}, fmt.Errorf("cni: inspect %s of container %s: %w", want.IfName, want.ContainerID, err)
	}
	return s, nil
}

func inspect(ctx context.Context, netns string, want Spec) (State, error) {
	if err := ctx.Err(); err != nil {
		return State{}, err
	}
	k, err := openKernel(netns)
	if err != nil {
		return State{}, err
	}
	defer k.close()
	return k.read(want)
}

// InspectHost reads the host's end of a container's link, for a comparison by
// [PlanHost]. It enters no namespace, and so needs no capability for that. The
// calling thread's network namespace is the host's.
func InspectHost(ctx context.Context, want Spec) (End, error) {
	e, err := inspectHost(ctx, want)
	if err != nil {
		return End{}, fmt.Errorf("cni: inspect the host's end of %s of container %s: %w", want.IfName, want.ContainerID, err)
	}
	return e, nil
}

func inspectHost(ctx context.Context, want Spec) (End, error) {
	if err := ctx.Err(); err != nil {
		return End{}, err
	}
	h, err := newHandle()
	if err != nil {
		return End{}, err
	}
	defer h.Close()
	link, err := linkByName(h, want.HostInterface)
	if err != nil {
		return End{}, fmt.Errorf("look for interface %s: %w", want.HostInterface, err)
	}
	e := readEnd(link, hostSysctls(want))
	if link == nil {
		return e, nil
	}
	return e, e.askNeighbors(link.Attrs().Index, want.Addrs)
}

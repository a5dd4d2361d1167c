package cni

import (
	"context"
	"errors"
	"fmt"

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
	done, err := wire(ctx, netns, want, func(Step) error { return nil })
	if err != nil {
		return done, fmt.Errorf("cni: wire %s of container %s: %w", want.IfName, want.ContainerID, err)
	}
	return done, nil
}

// wire is Wire with a say before each step.
func wire(ctx context.Context, netns string, want Spec, before func(Step) error) ([]Step, error) {
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
	n, err := k.apply(ctx, steps, want, before)
	return steps[:n], err
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
	links := map[string]netlink.Link{}
	for i, s := range steps {
		err := ctx.Err()
		if err == nil {
			err = before(s)
		}
		switch {
		case err != nil:
		case s.Op == OpMakePair:
			err = k.makePair(want)
		case links[s.Link] == nil:
			if links[s.Link], err = h.LinkByName(s.Link); err != nil {
				break
			}
			fallthrough
		default:
			err = change(h, links[s.Link], s)
		}
		if s.Op == OpRemovePair {
			delete(links, s.Link)
		}
		if err != nil {
			return i, fmt.Errorf("%s: %w", s, advised(err))
		}
	}
	return len(steps), nil
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

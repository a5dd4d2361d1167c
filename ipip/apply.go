package ipip

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Kernel is the machine's side of the device. [NewNetlink] is the real one,
// [Fake] behaves like it.
type Kernel interface {
	// Read returns the device as it is now.
	Read(ctx context.Context) (State, error)
	// Load loads the module that makes the device.
	Load(ctx context.Context) error
	// Do carries out one step.
	Do(ctx context.Context, s Step) error
}

// ErrNoModule is wrapped by the error of [Tunnel.Apply] when the kernel has no
// IPIP and its module cannot be loaded.
var ErrNoModule = errors.New("the kernel has no device " + Device)

// Tunnel applies what is wanted to the device. It is not for use by several
// goroutines.
type Tunnel struct {
	kernel Kernel
	// missing is why the module could not be loaded.
	missing error
}

// New returns a Tunnel on the kernel.
func New(k Kernel) *Tunnel { return &Tunnel{kernel: k} }

// Apply brings the device to what is wanted, and returns the steps that it took
// and the device as it is then. A second call takes none. A step that fails does
// not stop the others; the error names all of them.
func (t *Tunnel) Apply(ctx context.Context, want Want) (did []Step, have State, err error) {
	if have, err = t.Load(ctx); err != nil {
		return nil, have, err
	}
	return t.carryOut(ctx, Plan(want, have), have)
}

// Release leaves the device to others, as [PlanRelease] says. Without a device
// there is nothing to do.
func (t *Tunnel) Release(ctx context.Context) (did []Step, have State, err error) {
	if have, err = t.Observe(ctx); err != nil || !have.Exists {
		return nil, have, err
	}
	return t.carryOut(ctx, PlanRelease(have), have)
}

func (t *Tunnel) carryOut(ctx context.Context, steps []Step, have State) (did []Step, _ State, err error) {
	var failed []error
	for _, s := range steps {
		if err := t.kernel.Do(ctx, s); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", s, err))
			continue
		}
		did = append(did, s)
	}
	if len(did) > 0 {
		if have, err = t.kernel.Read(ctx); err != nil {
			failed = append(failed, fmt.Errorf("read %s back: %w", Device, err))
		}
	}
	if len(failed) > 0 {
		return did, have, fmt.Errorf("ipip: %w", errors.Join(failed...))
	}
	return did, have, nil
}

// Observe returns the device as it is, without a change.
func (t *Tunnel) Observe(ctx context.Context) (State, error) {
	have, err := t.kernel.Read(ctx)
	if err != nil {
		return have, fmt.Errorf("ipip: read %s: %w", Device, err)
	}
	return have, nil
}

// Load returns the device, after loading its module if it is not there. That is
// tried once: a module that appears later brings the device by itself, or with
// a restart. The error wraps [ErrNoModule] if there is none.
func (t *Tunnel) Load(ctx context.Context) (State, error) {
	have, err := t.Observe(ctx)
	if err != nil || have.Exists {
		return have, err
	}
	if t.missing != nil {
		return have, t.missing
	}
	if err := t.kernel.Load(ctx); err != nil {
		t.missing = missing(err.Error())
		return have, t.missing
	}
	if have, err = t.Observe(ctx); err == nil && !have.Exists {
		t.missing = missing("its module was loaded, but there is still no device")
		err = t.missing
	}
	return have, err
}

func missing(why string) error {
	return fmt.Errorf("ipip: %w (%s); load the module ipip (modprobe ipip), build the kernel with CONFIG_NET_IPIP, or set ipipMode: Never on the pools", ErrNoModule, strings.TrimSpace(why))
}

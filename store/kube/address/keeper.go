package address

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"caracal.dev/caracal"
)

// Host is where a node's addresses are read.
type Host interface {
	Addrs() ([]On, error)
	Source(to netip.Addr) netip.Addr
}

// Options are what a [Keeper] is made of.
type Options struct {
	Core kubernetes.Interface
	// Node is the name of this one.
	Node   string
	Method Method
	// StateDir is the daemon's: the choice is kept there.
	StateDir string
	Log      *slog.Logger
	// Host is the kernel if nil.
	Host Host
	// Look is the time between two looks whether the addresses still fit (30 s if 0),
	// Ask that between two looks at the Node (15 min if 0), a random half more or less.
	Look, Ask time.Duration
}

// Keeper chooses the addresses of a node and keeps its annotations.
type Keeper struct {
	o     Options
	wrong atomic.Pointer[string]

	turn sync.Mutex // held while the Keeper does anything; guards what follows
	kept Choice
	// internal are the Node's InternalIPs when it was last asked for.
	internal []netip.Addr
	said     string
}

// New returns a Keeper that has read nothing yet.
func New(o Options) *Keeper {
	if o.Host == nil {
		o.Host = Kernel{}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Look == 0 {
		o.Look = 30 * time.Second
	}
	if o.Ask == 0 {
		o.Ask = 15 * time.Minute
	}
	return &Keeper{o: o}
}

// Problem says what is wrong with the node's addresses: that none could be chosen,
// or that they no longer fit. It is empty if nothing is, and may be called from any
// goroutine.
func (k *Keeper) Problem() string {
	if p := k.wrong.Load(); p != nil {
		return *p
	}
	return ""
}

// Store is what is known of the node by the others.
type Store interface {
	Snapshot() *caracal.Snapshot
	Subscribe() <-chan struct{}
}

// retry is the time to wait after failures in a row: 1 s doubling to 1 min, a random
// half more or less.
func retry(failures int) time.Duration {
	return spread(min(time.Second<<min(failures-1, 6), time.Minute))
}

// spread returns d with up to half of it added or taken away, so that the nodes of a
// cluster do not do something at the same moment.
func spread(d time.Duration) time.Duration {
	return d/2 + rand.N(d)
}

// Run keeps the annotations of the Node until ctx ends. Before anything else it
// chooses, if there is nothing on record. A Snapshot in which this node has other
// addresses than before is looked into at once: somebody may have removed the
// annotations.
func (k *Keeper) Run(ctx context.Context, store Store) error {
	bell := store.Subscribe()
	var last [2]netip.Prefix
	failures := 0
	ask := time.NewTimer(0)
	defer ask.Stop()
	look := time.NewTicker(k.o.Look)
	defer look.Stop()
	for {
		version := "0" // of the API server's memory
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			k.turn.Lock()
			k.look()
			k.turn.Unlock()
			continue
		case <-bell:
			self, ok := store.Snapshot().SelfNode()
			now := [2]netip.Prefix{self.IPv4, self.IPv6}
			if !ok || now == last {
				continue
			}
			last = now
			if now == k.have() {
				continue
			}
			version = "" // the newest there is
		case <-ask.C:
		}
		wrote, err := k.settle(ctx, version)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			failures++
			ask.Reset(retry(failures))
		case wrote:
			// Somebody who does the same again at once is not seen in a Snapshot.
			failures = 0
			ask.Reset(spread(again))
		default:
			failures = 0
			ask.Reset(spread(k.o.Ask))
		}
	}
}

// again is when it is looked whether what was written has stayed.
const again = 2 * time.Second

// have returns what is kept.
func (k *Keeper) have() [2]netip.Prefix {
	k.turn.Lock()
	defer k.turn.Unlock()
	return [2]netip.Prefix{k.kept.IPv4, k.kept.IPv6}
}

// say logs an error when it begins and when it changes.
func (k *Keeper) say(err error) {
	text := ""
	if err != nil {
		if apierrors.IsForbidden(err) {
			err = fmt.Errorf("%w; apply manifests/base/rbac.yaml", err)
		}
		text = err.Error()
	}
	if text == k.said {
		return
	}
	if k.said = text; err != nil {
		k.o.Log.Warn("the node's address is not settled; tried again", "err", err)
	}
}

// settle does what there is to do once: choose, keep, annotate. version is the
// oldest resourceVersion of the Node that will do. wrote says that there was
// something to annotate.
func (k *Keeper) settle(ctx context.Context, version string) (wrote bool, err error) {
	k.turn.Lock()
	defer k.turn.Unlock()
	wrote, err = k.trySettle(ctx, version)
	if ctx.Err() == nil || err == nil {
		k.say(err)
	}
	return wrote, err
}

func (k *Keeper) trySettle(ctx context.Context, version string) (wrote bool, err error) {
	rec, err := load(k.o.StateDir)
	if err != nil {
		k.o.Log.Warn("the node's address is chosen anew", "err", err)
	}
	if rec.Method == k.o.Method.String() {
		k.kept = Choice{rec.IPv4, rec.IPv6}
		k.look()
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	n, err := k.o.Core.CoreV1().Nodes().Get(ctx, k.o.Node, metav1.GetOptions{ResourceVersion: version})
	if err != nil {
		return false, fmt.Errorf("address: read Node %s: %w", k.o.Node, err)
	}
	k.internal = internalIPs(n)
	if err := k.choose(rec); err != nil {
		text := err.Error()
		k.wrong.Store(&text)
		return false, err
	}
	k.look()
	return k.annotate(ctx, n)
}

// choose fills in what is not chosen yet, and puts it on record.
func (k *Keeper) choose(rec record) error {
	have := k.kept
	if have.IPv4.IsValid() && have.IPv6.IsValid() {
		return nil
	}
	f, err := k.facts()
	if err != nil {
		return err
	}
	found, err := Choose(k.o.Method, f)
	if have.Empty() && err != nil {
		return err
	}
	if !have.IPv4.IsValid() {
		have.IPv4 = found.IPv4
	}
	if !have.IPv6.IsValid() {
		have.IPv6 = found.IPv6
	}
	if have == k.kept {
		return nil
	}
	if rec.Method != "" && rec.Method != k.o.Method.String() {
		k.o.Log.Warn("the node's address is chosen anew, as another way to choose was given", "was", Choice{rec.IPv4, rec.IPv6}.String(), "by", rec.Method)
	}
	if err := (record{k.o.Method.String(), have.IPv4, have.IPv6}).save(k.o.StateDir); err != nil {
		return fmt.Errorf("address: keep the choice: %w", err)
	}
	k.kept = have
	k.o.Log.Info("the node's address is chosen", "address", have.String(), "by", k.o.Method.String())
	return nil
}

func (k *Keeper) facts() (Facts, error) {
	addrs, err := k.o.Host.Addrs()
	f := Facts{InternalIPs: k.internal, Addrs: addrs}
	for _, a := range k.o.Method.Reach {
		f.Sources = append(f.Sources, k.o.Host.Source(a))
	}
	return f, err
}

// look finds out whether what is kept still fits.
func (k *Keeper) look() {
	if k.kept.Empty() {
		return
	}
	f, err := k.facts()
	if err != nil {
		return // the routes task says when the kernel does not answer
	}
	text := Misfit(k.o.Method, k.kept, f)
	if text == k.Problem() {
		return
	}
	k.wrong.Store(&text)
	if text != "" {
		k.o.Log.Warn(text)
	} else {
		k.o.Log.Info("the node's address fits again", "address", k.kept.String())
	}
}

// annotate writes the annotations that the Node does not have as they should be.
// The status subresource takes annotations too, so no right on Nodes themselves is
// needed.
func (k *Keeper) annotate(ctx context.Context, n *corev1.Node) (wrote bool, err error) {
	want := map[string]any{}
	for key, p := range map[string]netip.Prefix{AnnotationIPv4: k.kept.IPv4, AnnotationIPv6: k.kept.IPv6} {
		have, there := n.Annotations[key]
		switch {
		case p.IsValid() && have != p.String():
			want[key] = p.String()
		case !p.IsValid() && there:
			want[key] = nil
		}
	}
	if len(want) == 0 {
		return false, nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": want}})
	if err == nil {
		_, err = k.o.Core.CoreV1().Nodes().Patch(ctx, k.o.Node, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "caracald"}, "status")
	}
	if apierrors.IsForbidden(err) {
		err = fmt.Errorf("%w; apply manifests/base/rbac.yaml", err)
	}
	if err != nil {
		return false, fmt.Errorf("address: annotate Node %s: %w", k.o.Node, err)
	}
	k.o.Log.Info("the node's address is told to the cluster", "address", k.kept.String())
	return true, nil
}

func internalIPs(n *corev1.Node) (out []netip.Addr) {
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(strings.TrimSpace(a.Address)); err == nil {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// Settle chooses and annotates once before the daemon takes its first Snapshot, so
// that it need not begin with an address without its network. It gives up after a
// while, and Run goes on. With a choice on record there is nothing to wait for.
func (k *Keeper) Settle(ctx context.Context, wait time.Duration) {
	if rec, err := load(k.o.StateDir); err == nil && rec.Method == k.o.Method.String() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	_, _ = k.settle(ctx, "0") // which has said what is wrong
}

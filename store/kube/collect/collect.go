package collect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"caracal.dev/caracal/ipam"
	"caracal.dev/caracal/store/kube/apiserver"
	"caracal.dev/caracal/store/kube/records"
)

// LeaseName is that of the Lease by which the collector is elected.
const LeaseName = "caracal-collector"

// Options are what a [Collector] is made of. The fields without a default must be
// set.
type Options struct {
	Client *apiserver.Client
	// Node is who stands for election, Namespace where the Lease is.
	Node, Namespace string
	// Interval is the time between two looks (5 min if 0), Grace how long a node must be
	// gone (10 min if 0), and MassGrace how long if more than half of all nodes are
	// (1 h if 0).
	Interval, Grace, MassGrace time.Duration
	// Lease is how long an elected collector that dies is waited for (15 min if 0). The
	// others ask for the Lease about every fifth of it, each.
	Lease time.Duration
	// Most is how many writes a look may lead to (200 if 0).
	Most int
	Log  *slog.Logger // discarded if nil
}

// Counts are what a collector has done since it was made.
type Counts struct {
	Leading bool
	// Looks counts those that succeeded, Failed the others.
	Looks, Failed uint64
	// Gone is how many nodes look gone, by the last look.
	Gone int64
	// Addresses that were freed, and blocks and claims (or loans) that were deleted.
	Addresses, Blocks, Claims uint64
}

// Collector gives back what nodes that are gone have. Make one with [New] and let
// it [Collector.Run].
type Collector struct {
	o       Options
	records *records.Store
	now     func() time.Time
	turn    sync.Mutex // guards what follows, while elected
	watched map[string]watch
	said    string // the error that was logged last

	leading                                           atomic.Bool
	gonow                                             atomic.Int64
	looks, failed, addresses, deletedBlocks, withdrew atomic.Uint64
	// before, in tests, is called before each write.
	before func(step)
}

// New returns a Collector that has done nothing yet.
func New(o Options) *Collector {
	for _, d := range []struct {
		p   *time.Duration
		def time.Duration
	}{{&o.Interval, 5 * time.Minute}, {&o.Grace, 10 * time.Minute}, {&o.MassGrace, time.Hour}, {&o.Lease, 15 * time.Minute}} {
		if *d.p == 0 {
			*d.p = d.def
		}
	}
	if o.Most == 0 {
		o.Most = 200
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Collector{o: o, records: records.New(o.Client), now: time.Now, watched: map[string]watch{}}
}

// Counts returns what has been done. It may be called at any time.
func (c *Collector) Counts() Counts {
	return Counts{
		Leading: c.leading.Load(), Looks: c.looks.Load(), Failed: c.failed.Load(), Gone: c.gonow.Load(),
		Addresses: c.addresses.Load(), Blocks: c.deletedBlocks.Load(), Claims: c.withdrew.Load(),
	}
}

// Run stands for election, and collects while elected, until ctx ends; then the
// Lease is given up, so that the next one need not wait for its end.
func (c *Collector) Run(ctx context.Context) error {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: c.o.Namespace, Name: LeaseName},
		Client:     c.o.Client.Core.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: c.o.Node},
	}
	// What it does we tell ourselves; what fails, only it knows of.
	ctx = logr.NewContext(ctx, logr.FromSlogHandler(onlyErrors{c.o.Log.Handler()}))
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: lock, LeaseDuration: c.o.Lease, RenewDeadline: c.o.Lease * 2 / 3, RetryPeriod: c.o.Lease / 5,
			ReleaseOnCancel: true, Name: LeaseName,
			Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: c.lead, OnStoppedLeading: func() {}},
		})
		if err != nil {
			return fmt.Errorf("collect: stand for election: %w", err)
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			elector.Run(ctx) // until the Lease is lost, or ctx ends
		}()
		select {
		case <-ended:
		case <-ctx.Done():
			// To give the Lease up takes as long as to renew it may, if the API is away.
			select {
			case <-ended:
			case <-time.After(giveUpTime):
			}
		}
	}
	return nil
}

// giveUpTime is how long the end of the daemon waits for the Lease to be given up.
const giveUpTime = 3 * time.Second

// onlyErrors lets through what client-go has to say of failures.
type onlyErrors struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h onlyErrors) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelError && h.Handler.Enabled(ctx, l)
}

// WithAttrs implements slog.Handler.
func (h onlyErrors) WithAttrs(attrs []slog.Attr) slog.Handler {
	return onlyErrors{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h onlyErrors) WithGroup(name string) slog.Handler { return onlyErrors{h.Handler.WithGroup(name)} }

// lead looks again and again while the Lease is ours.
func (c *Collector) lead(ctx context.Context) {
	c.turn.Lock() // whoever is elected again at once may not be done with the last time
	defer c.turn.Unlock()
	c.o.Log.Info("collector: elected; this node gives back what nodes that are gone have", "lease", c.o.Namespace+"/"+LeaseName)
	c.leading.Store(true)
	defer c.leading.Store(false)
	c.watched = map[string]watch{} // what was seen long ago is not minutes apart
	tick := time.NewTicker(c.o.Interval)
	defer tick.Stop()
	for {
		c.round(ctx)
		select {
		case <-ctx.Done():
			c.o.Log.Info("collector: no longer elected")
			return
		case <-tick.C:
		}
	}
}

// round looks once, and does what is due. Where the look fails, everything is to be
// seen twice again.
func (c *Collector) round(ctx context.Context) {
	seen, total, err := c.look(ctx)
	if err != nil {
		c.watched = map[string]watch{}
		c.failed.Add(1)
		if ctx.Err() == nil && err.Error() != c.said {
			c.said = err.Error()
			c.o.Log.Warn("collector: nodes that are gone are not looked for; tried again", "err", err)
		}
		return
	}
	c.said = ""
	c.looks.Add(1)
	next, due, held := judge(c.watched, seen, total, c.now(), limits{c.o.Grace, c.o.MassGrace})
	for node := range next {
		if _, before := c.watched[node]; !before {
			c.o.Log.Info("collector: a node that has addresses is gone; they are freed if it stays so", "node", node, "for", c.o.Grace)
		}
	}
	if held {
		c.o.Log.Error("collector: more than half of all nodes look gone: nothing of theirs is freed yet", "gone", len(next), "nodes", total, "waits", c.o.MassGrace)
	}
	c.watched = next
	c.gonow.Store(int64(len(next)))
	budget := c.o.Most
	for _, node := range due {
		if budget <= 0 || ctx.Err() != nil {
			return // next time
		}
		err := c.collect(ctx, node, &budget)
		if err != nil && ctx.Err() == nil {
			c.o.Log.Warn("collector: what a node that is gone has is not all given back; tried again", "node", node, "err", err)
		}
		delete(c.watched, node) // what is left is seen twice again
	}
}

// errBack: a node is there after all, or something of it was written just now.
var errBack = errors.New("the node is there again, or somebody else writes its records")

// collect gives back what one node has. It looks again first.
func (c *Collector) collect(ctx context.Context, node string, budget *int) error {
	gone, err := c.gone(ctx, node)
	if err != nil {
		return err
	}
	e, err := c.estate(ctx, node)
	if err != nil {
		return err
	}
	if !gone || e.revisions() != c.watched[node].records {
		return errBack
	}
	steps, problems := plan(e, c.now())
	for _, p := range problems {
		c.o.Log.Warn("collector: a record of a node that is gone cannot be read; somebody has to look at it", "node", node, "problem", p)
	}
	newer := map[string]string{} // revisions, by key
	for _, s := range steps {
		if *budget--; *budget < 0 {
			return fmt.Errorf("%d writes are enough for once", c.o.Most)
		}
		if r, ok := newer[s.record.Key]; ok {
			s.record.Revision = r
		}
		if c.before != nil {
			c.before(s)
		}
		revision, err := c.write(ctx, s)
		if errors.Is(err, ipam.ErrConflict) {
			return fmt.Errorf("%w: %w", errBack, err)
		}
		if err != nil {
			return err
		}
		newer[s.record.Key] = revision
		c.note(node, s)
	}
	return nil
}

func (c *Collector) write(ctx context.Context, s step) (string, error) {
	if s.delete {
		return "", c.records.Delete(ctx, s.record.Key, s.record.Revision)
	}
	return c.records.Put(ctx, s.record)
}

// note logs and counts what was done.
func (c *Collector) note(node string, s step) {
	c.o.Log.Info("collector: "+s.why, "node", node, "record", s.record.Key, "because", "the node is gone")
	for _, a := range s.freed {
		c.addresses.Add(1)
		c.o.Log.Info("collector: address freed", "node", node, "address", a.Addr, "handle", a.Handle, "workload", a.Owner.Namespace+"/"+a.Owner.Name, "because", "the node is gone")
	}
	if subject, _ := ipam.SubjectOf(s.record.Key); s.delete && subject.Kind == ipam.BlockSubject {
		c.deletedBlocks.Add(1)
	} else if s.delete {
		c.withdrew.Add(1)
	}
}

func (c *Collector) tellDamaged(bad []ipam.Damaged) {
	for _, d := range bad {
		c.o.Log.Warn("collector: a record cannot be read; somebody has to look at it", "record", d.Key, "problem", d.Message)
	}
}

func nodeOf(o metav1.Object) string { return records.NodeOf(o) }

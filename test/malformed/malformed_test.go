package malformed

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/rib"
)

// stands is how many speakers there are. The cases of one go one after the
// other: GoBGP v4.8.0 has data races, harmless ones, between sessions that end
// and others.
const stands = 8

// atLeast is how many cases there are to be.
const atLeast = 250

func all() []test {
	return slices.Concat(headers(), opens(), capabilityCases(), attributes(), moreAttributes(), reaches(), prefixes(), refusals(), withdrawals(), orders(), refreshes())
}

// TestMalformed runs every case against one speaker.
func TestMalformed(t *testing.T) {
	tests := all()
	if len(tests) < atLeast {
		t.Errorf("%d cases, want at least %d", len(tests), atLeast)
	}
	t.Logf("%d cases, %d deviate", len(tests), len(deviations))
	names := map[string]bool{}
	for _, tc := range tests {
		if names[tc.name] || tc.clause == "" {
			t.Fatalf("%s: named twice, or of no clause", tc.name)
		}
		names[tc.name] = true
	}
	for name := range deviations {
		if !names[name] {
			t.Errorf("deviation %q is of no case", name)
		}
	}
	run := slices.Clone(tests)
	for range stands {
		run = append(run, test{name: "steady"}) // of a neighbor that sends nothing wrong
	}
	var all []*stand
	for i := range stands { // GoBGP writes package variables at each start
		all = append(all, newStand(t, i, run))
	}
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { s.runAll(tests, (len(tests)+stands-1-i)/stands*stands+i) })
	}
	wg.Wait()
}

// runAll plays the cases of one stand. Whatever their neighbors send, nothing
// happens to the steady one, and the speaker goes on.
func (s *stand) runAll(tests []test, last int) {
	steady := &peer{stand: s, index: last}
	if err := steady.up(); err != nil {
		s.t.Errorf("the neighbor that sends nothing wrong: %v", err)
		return
	}
	for i := s.number; i < len(tests); i += stands {
		if raceDetector && racy[tests[i].name] {
			continue
		}
		p := &peer{stand: s, index: i, session: tests[i].session}
		got, err := p.run(tests[i])
		judge(s.t, tests[i], got, errors.Join(err, p.leave()))
		steady.write(message(keepalive)) // or its hold time ends before a slow machine is done
	}
	steady.write(steady.announce4(steady.last4()))
	if err := s.eventually(steady, steady.route4(), steady.route6(), steady.other4(), steady.last4()); err != nil {
		s.t.Errorf("the neighbor that sent nothing wrong: %v", err)
	}
	s.ask(func() {
		if why, down := s.downs[steady.name()]; down {
			s.t.Errorf("the session of the neighbor that sent nothing wrong ended: %s", why)
		}
		for route := range s.wrong {
			s.t.Errorf("was in the kernel: %s", route)
		}
	})
}

// leave closes what is open, and waits until the speaker is through with it. A
// graceful end would make GoBGP race: it marks paths as stale that it hands out.
func (p *peer) leave() error {
	if p.conn == nil {
		return nil
	}
	p.write(message(notification, []byte{6, 3}))
	p.conn.Close()
	<-p.over
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		up := false
		p.stand.ask(func() { up = p.stand.up[p.name()] })
		if !up {
			return nil
		}
	}
	return errors.New("the speaker does not notice the end of the connection")
}

// judge compares an outcome with what is wanted, or known to be otherwise.
func judge(t *testing.T, tc test, got outcome, err error) {
	d, deviates := deviations[tc.name]
	switch {
	case err != nil:
		t.Errorf("%s (%s): %s: %v", tc.name, tc.clause, got, err)
	case !deviates && !got.is(tc.want):
		t.Errorf("%s (%s): %s, want %s", tc.name, tc.clause, got, tc.want)
	case deviates && got.is(tc.want):
		t.Errorf("%s (%s): %s, as it should be: take it from the deviations", tc.name, tc.clause, got)
	case deviates && !got.is(d.got):
		t.Errorf("%s (%s): %s, want %s, known is %s", tc.name, tc.clause, got, tc.want, d.got)
	}
}

// run plays one case. An error is of something that is wrong whatever the
// outcome.
func (p *peer) run(tc test) (outcome, error) {
	if tc.drive != nil {
		return tc.drive(p)
	}
	if tc.at == established {
		return p.inSession(tc)
	}
	if err := p.dial(); err != nil {
		return outcome{}, err
	}
	if tc.at == opened {
		p.write(p.open().bytes())
	}
	p.write(tc.send(p))
	return p.afterOpen()
}

// afterOpen goes on as if nothing was wrong, up to a route in the kernel.
func (p *peer) afterOpen() (outcome, error) {
	if err := p.establish(); err != nil {
		return p.lost(err)
	}
	p.write(p.announce4(p.last4()))
	if ended, err := p.until(p.last4()); ended || err != nil {
		return p.lost(err)
	}
	return only(accepted), nil
}

// lost is the outcome of a connection that ended before there was a route.
func (p *peer) lost(err error) (outcome, error) {
	if err != nil && err != errOver {
		return outcome{}, err
	}
	return p.ended(), p.stand.eventually(p)
}

// up establishes a session with routes.
func (p *peer) up() error {
	if err := p.dial(); err != nil {
		return err
	}
	p.write(p.open().bytes())
	if err := p.establish(); err != nil {
		return fmt.Errorf("no session: %w (%s)", err, p.ended())
	}
	p.write(p.announce4(p.route4()))
	p.write(p.announce4(p.other4()))
	return p.stand.eventually(p, p.routes()...)
}

// routes announces what up announces.
func (p *peer) routes() []netip.Prefix {
	if p.onlyIPv4 {
		return []netip.Prefix{p.route4(), p.other4()}
	}
	p.write(p.announce6())
	return []netip.Prefix{p.route4(), p.route6(), p.other4()}
}

// until waits for the route in the kernel, or the end of the connection.
func (p *peer) until(prefix netip.Prefix) (ended bool, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		select {
		case <-p.over:
			return true, nil
		case <-time.After(5 * time.Millisecond):
		}
		if len(p.stand.installed(prefix)) > 0 {
			return false, nil
		}
	}
	return false, fmt.Errorf("the connection lives, but what is announced after it is not installed")
}

func (p *peer) inSession(tc test) (outcome, error) {
	if err := p.up(); err != nil {
		return outcome{}, err
	}
	target := tc.prefix(p)
	before, was := p.stand.path(p.name(), target)
	p.write(tc.send(p))
	if tc.want.kind != closed { // after a NOTIFICATION nobody announces
		p.write(p.announce4(p.last4()))
	}
	ended, err := p.until(p.last4())
	if err != nil {
		return outcome{}, err
	}
	if tc.later && !ended {
		select {
		case <-p.over:
			ended = true
		case <-time.After(thinking):
		}
	}
	if ended || tc.known().kind == reset && p.endsSoon() {
		return p.ended(), p.stand.eventually(p) // all its routes are gone
	}
	after, is := p.stand.path(p.name(), target)
	got := fate(tc, before, after, was, is)
	if tc.check != nil && got == only(accepted) && tc.want == got {
		if why := tc.check(after.Attrs); why != "" {
			return got, errors.New(why)
		}
	}
	want := []netip.Prefix{p.other4(), p.last4()}
	for _, r := range p.owned() {
		if r != target || got.kind != withdrawn {
			want = append(want, r)
		}
	}
	return got, p.stand.eventually(p, want...)
}

// known is what the outcome is expected to be, rightly or not.
func (t test) known() outcome {
	if d, ok := deviations[t.name]; ok {
		return d.got
	}
	return t.want
}

// thinking is longer than the speaker takes to decide that an UPDATE was lost.
const thinking = 5 * time.Second

// endsSoon waits for the end of a connection that the speaker may take a moment
// to decide on.
func (p *peer) endsSoon() bool {
	select {
	case <-p.over:
		return true
	case <-time.After(patience):
		return false
	}
}

func (p *peer) owned() []netip.Prefix {
	if p.onlyIPv4 {
		return []netip.Prefix{p.route4()}
	}
	return []netip.Prefix{p.route4(), p.route6()}
}

// fate tells from the path before and after what became of it.
func fate(tc test, before, after rib.PathView, was, is bool) outcome {
	switch {
	case !is && !was:
		return only(ignored)
	case !is:
		return only(withdrawn)
	case was && after.Attrs == before.Attrs:
		return only(ignored)
	case after.Verdict.Code != rib.Accepted:
		return only(refused)
	case tc.want.kind == discarded && tc.gone(after.Attrs):
		return only(discarded)
	}
	return only(accepted)
}

func (t test) gone(a *caracal.Attrs) bool { return t.check == nil || t.check(a) == "" }

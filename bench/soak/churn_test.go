package soak

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

// churn changes what the stations announce, on the wire and in the model.
type churn struct {
	model
	t      *testing.T
	w      *stand.World
	d      *stand.Daemon
	dir    string
	shares []stand.Share
	views  *daemonViews
	rnd    *rand.Rand

	sessions []*sender.Session // nil while away
	returned chan arrival
	away     int // how many are on their way back
	drops    int
}

// arrival is a session that came up.
type arrival struct {
	station int
	session *sender.Session
	err     error
}

// run makes n changes and spreads them over the time.
func (c *churn) run(n int, over time.Duration) {
	c.t.Helper()
	start := time.Now()
	for done := 0; done < n; {
		c.takeBack(false)
		if c.rnd.IntN(300) == 0 {
			c.drop(c.rnd.IntN(stations))
		}
		done += c.batch(min(n-done, c.size()))
		if ahead := over*time.Duration(done)/time.Duration(n) - time.Since(start); ahead > 0 {
			time.Sleep(ahead)
		}
	}
}

// fill has the stations announce about as much as they will in the long run, so
// that growth is none of the table's: of what is picked two in five are withdrawn
// if they are there, and all announced if not.
func (c *churn) fill() {
	for i, s := range c.stations {
		for k := range 3 * c.each {
			if prefix := (i*c.each + k) % len(c.prefixes); c.rnd.IntN(7) < 5 {
				s.says[prefix] = c.version(prefix)
			}
		}
	}
}

// size is how many changes come together: mostly few, now and then very many.
func (c *churn) size() int {
	if c.rnd.IntN(50) == 0 {
		return 1 + c.rnd.IntN(500)
	}
	return 1 + c.rnd.IntN(10)
}

// batch makes n changes of one station, which may be away.
func (c *churn) batch(n int) int {
	i := c.rnd.IntN(stations)
	s := c.stations[i]
	var messages [][]byte
	for range n {
		prefix := c.pick(i)
		if _, ok := s.says[prefix]; ok && c.rnd.IntN(5) < 2 {
			c.withdraw(s, prefix)
			messages = append(messages, sender.EncodeWithdraw([]netip.Prefix{c.prefixes[prefix]})...)
			continue
		}
		v := c.version(prefix)
		c.announce(s, prefix, v)
		messages = append(messages, sender.Encode([]netip.Prefix{c.prefixes[prefix]}, v.path(c.addrs))...)
	}
	if s.up {
		if err := c.sessions[i].Send(messages...); err != nil {
			c.t.Fatalf("session %d: %v, %v", i, err, c.sessions[i].Err())
		}
	}
	return n
}

// pick returns a prefix of the station's own block, or of the two blocks after
// it, which it announces for others as a reflector does.
func (c *churn) pick(station int) int {
	block := station
	if c.rnd.IntN(10) < 3 {
		block = (station + 1 + c.rnd.IntN(2)) % stations
	}
	return block*c.each + c.rnd.IntN(c.each)
}

// version returns attributes for a prefix; one in five has a next hop that does
// not own it.
func (c *churn) version(prefix int) version {
	v := version{hop: c.ownerOf(prefix), pref: 100 + uint32(c.rnd.IntN(3)), length: c.rnd.IntN(4)}
	if c.rnd.IntN(5) == 0 {
		v.hop = c.rnd.IntN(stations)
	}
	return v
}

// drop ends a session: by a Cease, or as a process that is killed does it. It
// comes back within a second.
func (c *churn) drop(i int) {
	s := c.stations[i]
	if !s.up {
		return
	}
	c.drops++
	keep := s.graceful && c.rnd.IntN(3) > 0
	if keep || !s.graceful {
		c.sessions[i].Abort()
	} else {
		// What a Cease ends is over, graceful restart or not (RFC 4724 section 4).
		_ = c.sessions[i].Close() // the connection may be half gone
	}
	c.sessions[i] = nil
	c.model.drop(s, keep)
	c.dial(i, true)
}

// dial brings a session up on another goroutine.
func (c *churn) dial(i int, restarting bool) {
	c.away++
	conf := c.w.Session(i)
	conf.GracefulRestart = c.stations[i].graceful
	conf.Restarting, conf.Preserved = restarting, restarting
	pause := time.Duration(0)
	if restarting {
		pause = time.Duration(c.rnd.Int64N(int64(time.Second)))
	}
	go func() {
		time.Sleep(pause)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s, err := sender.Dial(ctx, conf)
		c.returned <- arrival{i, s, err}
	}()
}

// takeBack welcomes who has come back; with wait it waits for one.
func (c *churn) takeBack(wait bool) {
	c.t.Helper()
	for c.away > 0 {
		var a arrival
		if wait {
			a = <-c.returned
		} else {
			select {
			case a = <-c.returned:
			default:
				return
			}
		}
		wait = false
		if c.away--; a.err != nil {
			c.t.Fatal(a.err)
		}
		c.sessions[a.station] = a.session
		s := c.stations[a.station]
		groups := map[version][]netip.Prefix{}
		for prefix, v := range s.says {
			groups[v] = append(groups[v], c.prefixes[prefix])
		}
		for v, prefixes := range groups {
			if err := a.session.Announce(prefixes, v.path(c.addrs)); err != nil {
				c.t.Fatal(err)
			}
		}
		if err := a.session.EndOfRIB(false); err != nil {
			c.t.Fatal(err)
		}
		c.back(s)
	}
}

// allBack waits until every session is up.
func (c *churn) allBack() {
	c.t.Helper()
	for c.away > 0 {
		c.takeBack(true)
	}
}

// swap moves two blocks, in the configuration too.
func (c *churn) swap(a, b int) {
	c.t.Helper()
	c.model.swap(a, b)
	shares := make([]stand.Share, len(c.shares))
	for block, node := range c.owner {
		shares[node].Block = c.shares[block].Block
	}
	if err := stand.Configure(c.w, c.dir, shares); err != nil {
		c.t.Fatal(err)
	}
}

// paths returns how many paths the daemon should have.
func (c *churn) paths() (n int) {
	for _, s := range c.stations {
		n += len(s.has)
	}
	return n
}

package bgp

import (
	"context"
	"time"
)

// Squat gives GoBGP a neighbor behind the speaker's back, so that adding
// another with its address fails, and returns how to take it away.
func (s *Speaker) Squat(n Neighbor) (leave func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return func() error { return s.engine.remove(context.Background(), n.Addr) }, s.engine.add(context.Background(), n, peerOptions{})
}

// TellAgain is what a session is told that came up then, had it missed something.
func (s *Speaker) TellAgain(n Neighbor, since time.Time) bool { return s.tellAgain(n.Addr, since) }

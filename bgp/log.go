package bgp

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// logAdapter passes GoBGP's log on in our words. GoBGP logs each step of a
// session at Info; we log sessions ourselves, so its Info becomes Debug but for
// the few lines that say something more. Its Debug, which prints every UPDATE, is
// only looked at for neighbors without a session: it says why there is none.
type logAdapter struct {
	next  slog.Handler
	name  func(netip.Addr) string
	attrs []slog.Attr
	peer  netip.Addr // whose log this is
	seen  *seldom
	faults
}

func newLogAdapter(next slog.Handler, name func(netip.Addr) string, f faults) *logAdapter {
	return &logAdapter{next: next, name: name, faults: f, seen: newSeldom()}
}

// unknownPeer is logged for each connection from an address without neighbor,
// which a host that is misconfigured opens every second.
const unknownPeer = "Can't find configuration for a new passive connection"

// levels are those of GoBGP's lines that matter more, or less, than their own
// level says.
var levels = map[string]slog.Level{
	unknownPeer:                                   slog.LevelWarn,
	"Mismatched local address":                    slog.LevelWarn,
	"received notification":                       slog.LevelInfo,
	"sent notification":                           slog.LevelInfo,
	"sync finished":                               slog.LevelInfo,
	"failed to send":                              slog.LevelDebug,
	"Closed an accepted connection":               slog.LevelDebug,
	"restart flag is not set":                     slog.LevelDebug,
	"hold timer expired":                          slog.LevelDebug,
	"graceful restart timer expired":              slog.LevelDebug,
	"update prefix limit configuration":           slog.LevelDebug,
	"accepted conn is closed to avoid be blocked": slog.LevelDebug,
}

// words are said instead of GoBGP's own.
var words = map[string]string{
	unknownPeer:                "connection refused: no neighbor has this address",
	"Mismatched local address": "connection refused: it was made to another address than the neighbor's local one",
	"sync finished":            "restart finished: announcing",
}

// repeatAfter is how long a line of the same words and neighbor is held back.
const repeatAfter = time.Minute

// seldom remembers what was logged when.
type seldom struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newSeldom() *seldom { return &seldom{last: map[string]time.Time{}} }

func (s *seldom) again(key string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.last) > 10000 { // a scan from many addresses
		clear(s.last)
	}
	if last, ok := s.last[key]; ok && now.Sub(last) < repeatAfter {
		return true
	}
	s.last[key] = now
	return false
}

// Enabled implements slog.Handler.
func (h *logAdapter) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo || h.down != nil && h.peer.IsValid() && h.down(h.peer)
}

// Handle implements slog.Handler.
func (h *logAdapter) Handle(ctx context.Context, r slog.Record) error {
	a, attempted := attemptOf(r)
	if attempted && h.attempted != nil && h.peer.IsValid() {
		h.attempted(h.peer, a)
	}
	if r.Level < slog.LevelInfo {
		return nil
	}
	h.see(h.attrs, r)
	level, known := levels[r.Message]
	switch {
	case known:
	case r.Level >= slog.LevelError:
		level = slog.LevelError
	case r.Level >= slog.LevelWarn:
		level = slog.LevelWarn
	default:
		level = slog.LevelDebug
	}
	if !h.next.Enabled(ctx, level) {
		return nil
	}
	message := "gobgp: " + r.Message
	if w, ok := words[r.Message]; ok {
		message = w
	}
	out := slog.NewRecord(r.Time, level, message, r.PC)
	neighbor := ""
	add := func(a slog.Attr) bool {
		if a, ok := h.translate(a); ok {
			if a.Key == "neighbor" {
				neighbor = a.Value.String()
			}
			out.AddAttrs(a)
		}
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	key := r.Message + "\x00" + neighbor
	if attempted {
		out.AddAttrs(slog.String("notification", notificationWords(a.code, a.subcode)))
		key += notificationWords(a.code, a.subcode)
	}
	if (level == slog.LevelWarn || attempted) && h.seen.again(key, r.Time) {
		return nil
	}
	return h.next.Handle(ctx, out)
}

// translate gives an attribute our key. GoBGP's topic says nothing here, codes
// are said in words.
func (h *logAdapter) translate(a slog.Attr) (slog.Attr, bool) {
	switch a.Key {
	case "Topic", "Code", "Subcode":
		return a, false
	case "Data":
		return a, a.Value.String() != "[]"
	case "Communicated-Reason":
		return slog.String("reason", a.Value.String()), a.Value.String() != ""
	case "Key":
		if addr, err := netip.ParseAddr(a.Value.String()); err == nil {
			return slog.String("neighbor", h.name(addr)), true
		}
		return slog.Attr{Key: "neighbor", Value: a.Value}, true
	case "Error", "Err":
		return slog.Attr{Key: "err", Value: a.Value}, true
	case "State":
		return slog.Attr{Key: "state", Value: a.Value}, true
	case "Nexthop":
		return slog.Attr{Key: "nexthop", Value: a.Value}, true
	case "Prefix", "NLRI":
		return slog.Attr{Key: "nlri", Value: a.Value}, true
	}
	return a, true
}

// WithAttrs implements slog.Handler.
func (h *logAdapter) WithAttrs(attrs []slog.Attr) slog.Handler {
	c := *h
	for _, a := range attrs {
		if addr, err := netip.ParseAddr(a.Value.String()); err == nil && a.Key == "Key" {
			c.peer = addr
		}
	}
	c.attrs = append(append([]slog.Attr(nil), h.attrs...), attrs...)
	return &c
}

// WithGroup implements slog.Handler. GoBGP uses no groups.
func (h *logAdapter) WithGroup(string) slog.Handler { return h }

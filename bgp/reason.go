package bgp

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
)

// This file says why there is no session. Of one that was up GoBGP tells it with
// the change of state; of one that does not come up only its log does, and most
// of that at Debug.

// errorCodes are the names of RFC 4271 section 4.5 and RFC 7313, with those of
// their subcodes from 1 on; Cease's are of RFC 4486, RFC 8538 and RFC 9384.
var errorCodes = map[uint8]struct {
	name     string
	subcodes []string
}{
	1: {"message header error", []string{"connection not synchronized", "bad message length", "bad message type"}},
	2: {"OPEN message error", []string{"unsupported version number", "bad peer AS", "bad BGP identifier",
		"unsupported optional parameter", "authentication failure", "unacceptable hold time", "unsupported capability"}},
	3: {"UPDATE message error", []string{"malformed attribute list", "unrecognized well-known attribute",
		"missing well-known attribute", "attribute flags error", "attribute length error", "invalid ORIGIN attribute",
		"AS routing loop", "invalid NEXT_HOP attribute", "optional attribute error", "invalid network field", "malformed AS_PATH"}},
	4: {"hold timer expired", nil},
	5: {"finite state machine error", []string{"unexpected message in OpenSent", "unexpected message in OpenConfirm",
		"unexpected message in Established"}},
	6: {"Cease", []string{"maximum number of prefixes reached", "administrative shutdown", "peer deconfigured",
		"administrative reset", "connection rejected", "other configuration change", "connection collision resolution",
		"out of resources", "hard reset", "BFD down"}},
	7: {"ROUTE-REFRESH message error", []string{"invalid message length"}},
}

const (
	codeHeader = 1
	codeOpen   = 2
	codeHold   = 4
	codeFSM    = 5

	subBadPeerAS     = 2
	subBadIdentifier = 3
)

// notificationWords is a NOTIFICATION in words: "Cease: peer deconfigured".
func notificationWords(code, subcode uint8) string {
	c, ok := errorCodes[code]
	switch {
	case !ok:
		return fmt.Sprintf("NOTIFICATION %d/%d", code, subcode)
	case subcode == 0:
		return c.name
	case int(subcode) > len(c.subcodes):
		return fmt.Sprintf("%s: subcode %d", c.name, subcode)
	}
	return c.name + ": " + c.subcodes[subcode-1]
}

var codesOf = regexp.MustCompile(`code (\d+)\(.*\) subcode (\d+)\(`)

// notification finds the codes in GoBGP's words for one, as
// "notification-sent code 6(cease) subcode 4(administrative reset)".
func notification(text string) string {
	m := codesOf.FindStringSubmatch(text)
	if m == nil {
		return "NOTIFICATION"
	}
	code, err1 := strconv.ParseUint(m[1], 10, 8)
	subcode, err2 := strconv.ParseUint(m[2], 10, 8)
	if err1 != nil || err2 != nil {
		return "NOTIFICATION"
	}
	return notificationWords(uint8(code), uint8(subcode))
}

const (
	reasonHoldTime = "hold time expired: nothing heard from the neighbor"
	reasonLost     = "connection lost"
	reasonInvalid  = "neighbor sent an invalid message before the session was up"
	reasonBadAS    = "neighbor's OPEN names another AS number than is configured for it"
	reasonClosed   = "neighbor closed the connection before the session was up: it may not have this node's address%s as a neighbor; its log says why"
)

// The lines of GoBGP's log that tell of a failed attempt, and of NOTIFICATIONS.
const (
	lineDial     = "failed to connect"
	lineClosed   = "outgoing connection IO error"
	lineSent     = "sent notification"
	lineReceived = "received notification"
)

// attempt is what such a line says.
type attempt struct {
	line          string
	err           string
	code, subcode uint8
	text          string // RFC 9003
}

// attemptOf reads a line of a neighbor's log; false if it is another one.
func attemptOf(r slog.Record) (attempt, bool) {
	switch r.Message {
	case lineDial, lineClosed, lineSent, lineReceived:
	default:
		return attempt{}, false
	}
	a := attempt{line: r.Message}
	r.Attrs(func(attr slog.Attr) bool {
		switch attr.Key {
		case "Error":
			a.err = attr.Value.String()
		case "Communicated-Reason":
			a.text = printable(attr.Value.String())
		case "Code", "Subcode":
			if n := attr.Value; n.Kind() == slog.KindInt64 && attr.Key == "Code" {
				a.code = uint8(n.Int64())
			} else if n.Kind() == slog.KindInt64 {
				a.subcode = uint8(n.Int64())
			}
		}
		return true
	})
	return a, true
}

// why is a failed attempt in words; empty if it is none. Our AS number is asn.
func (a attempt) why(n Neighbor, asn uint32) string {
	switch a.line {
	case lineDial:
		return dialFailed(n, a.err)
	case lineClosed:
		return closedBy(n)
	case lineSent:
		return refused(n, asn, a.code, a.subcode)
	}
	return ""
}

// refused is why we sent a NOTIFICATION before there was a session. GoBGP does
// not tell the AS number that an OPEN had, nor what a NOTIFICATION said that
// came before one.
func refused(n Neighbor, asn uint32, code, subcode uint8) string {
	switch {
	case code == codeOpen && subcode == subBadPeerAS:
		return fmt.Sprintf("we refused its OPEN: its AS number is not %d, as is configured for it (bad peer AS)", n.ASN)
	case code == codeOpen && subcode == subBadIdentifier:
		return "we refused its OPEN: its router ID is this node's, too, or 0.0.0.0 (bad BGP identifier)"
	case code == codeOpen:
		return "we refused its OPEN: " + notificationWords(code, subcode)
	case code == codeFSM:
		return refusedBy(asn)
	case code == codeHold:
		return "neighbor took the connection, but sent no OPEN"
	case code == codeHeader:
		return "neighbor sent no valid BGP message: " + notificationWords(code, subcode)
	}
	return ""
}

// closedBy is said of a neighbor that hangs up. Of a session between link-local
// addresses the configuration may not have ours.
func closedBy(n Neighbor) string {
	if !n.Local.IsValid() {
		return fmt.Sprintf(reasonClosed, "")
	}
	return fmt.Sprintf(reasonClosed, " "+n.Local.String())
}

// refusedBy is said of a neighbor that does not take our OPEN.
func refusedBy(asn uint32) string {
	return fmt.Sprintf("neighbor refused our OPEN: it may expect another AS number of this node than %d; its log says why", asn)
}

// dialFailed has only the text of the error, which ends with the words of its
// errno.
func dialFailed(n Neighbor, text string) string {
	port := n.Port
	if port == 0 {
		port = bgpPort
	}
	at := netip.AddrPortFrom(n.Addr, port)
	is := func(e syscall.Errno) bool { return strings.Contains(text, e.Error()) }
	switch {
	case is(syscall.ECONNREFUSED):
		return fmt.Sprintf("%s refuses the connection: no BGP speaker listens there, or a firewall rejects it", at)
	case is(syscall.ETIMEDOUT), strings.Contains(text, "i/o timeout"):
		return fmt.Sprintf("%s does not answer: its host is down, or %s", at, dropped(n))
	case is(syscall.EHOSTUNREACH), is(syscall.ENETUNREACH):
		return fmt.Sprintf("%s cannot be reached: there is no route to it, or its host does not answer", at)
	case is(syscall.EADDRNOTAVAIL):
		return fmt.Sprintf("no interface has our address %s, so %s cannot be dialed from it", n.Local, at)
	}
	return fmt.Sprintf("%s cannot be dialed: %s", at, text)
}

// dropped is why a host that is up may not answer at all. A kernel drops in
// silence what is not signed as it wants it, and what came too far.
func dropped(n Neighbor) string {
	why := "a firewall drops the connection, or it wants a password"
	if !n.Password.Secret.IsZero() {
		why = "a firewall drops the connection, or it has another password, or none"
	}
	switch {
	case n.TTLSecurity == 1:
		why += ", or it is more than 1 hop away, or has no TTL security itself"
	case n.TTLSecurity > 1:
		why += fmt.Sprintf(", or it is more than %d hops away, or has no TTL security itself", n.TTLSecurity)
	}
	return why
}

const bgpPort = 179

// noticed is how long before a change of state the line of its NOTIFICATION is.
const noticed = 5 * time.Second

// said is why a session ended, with what the neighbor said of it.
func (nb *tracked) said(c change) string {
	why := c.reason
	if why == "" {
		why = "unknown"
	}
	if n := nb.notice; n.Text != "" && !n.Sent && c.at.Sub(n.At) < noticed && strings.HasSuffix(why, n.String()) {
		why += fmt.Sprintf(", saying %q", n.Text)
	}
	return why
}

// printable is a text from a neighbor as it may be shown and logged.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// turnAway ends a session that came up with a neighbor in our own AS, where any
// but that was asked for. The caller holds the lock.
func (t *tracker) turnAway(nb *tracked, asn uint32) {
	nb.fault = fmt.Sprintf("neighbor is in our own AS %d, and one in another was asked for: correct its asNumber, or ours", asn)
	e, addr, name := t.engine, nb.conf.Addr, nb.conf.Name
	go func() {
		if err := e.resetFor(context.Background(), addr, "external session expected"); err != nil {
			t.log.Error("session with a neighbor in our own AS cannot be ended; disable the neighbor", "neighbor", name, "err", err)
		}
	}()
}

// trouble is why attempts fail now.
type trouble struct {
	why   string
	times int
}

// unsettled reports whether a neighbor has no session, for which its log matters.
func (t *tracker) unsettled(addr netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	return nb != nil && nb.state != Established
}

// attempted is told of a line in a neighbor's log. A connection that is closed
// while another one is on its way lost a collision (RFC 4271 section 6.8).
func (t *tracker) attempted(addr netip.Addr, a attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	nb := t.byAddr[addr]
	if nb == nil {
		return
	}
	if a.line == lineSent || a.line == lineReceived {
		nb.notice = Notification{Sent: a.line == lineSent, Code: a.code, Subcode: a.subcode, Text: a.text, At: time.Now()}
	}
	if nb.state == Established {
		return
	}
	if a.line == lineClosed && (nb.state == OpenSent || nb.state == OpenConfirm) {
		return
	}
	if why := a.why(nb.conf, t.asn); why != "" {
		t.fail(nb, why, time.Now())
	}
}

// closedTries is how often in a row a connection must be closed before it is worth a
// line in the log: that also ends a collision, and a neighbor that rests for some
// seconds does so.
const closedTries = 3

// fail notes why a session does not come up, and logs it when it is news. The
// caller holds the lock.
func (t *tracker) fail(nb *tracked, why string, at time.Time) {
	if nb.disabled != nil || nb.held || nb.gone != nil {
		return
	}
	if nb.trouble.why != why {
		nb.trouble = trouble{why: why}
	}
	nb.trouble.times++
	if nb.lastErr != why {
		nb.lastErr, nb.errAt = why, at
	}
	loud := 1
	if why == closedBy(nb.conf) {
		loud = closedTries
	}
	if nb.trouble.times == loud && !t.refusals.again(nb.conf.Name+"\x00"+why, at) {
		t.log.Warn("no session", "neighbor", nb.conf.Name, "reason", why)
	}
}

// unfinished is why a connection ended before the session was up.
func (t *tracker) unfinished(nb *tracked, c change) string {
	switch {
	case c.reason == reasonBadAS:
		return refused(nb.conf, t.asn, codeOpen, subBadPeerAS)
	case c.reason == reasonInvalid && nb.state == OpenConfirm:
		return refusedBy(t.asn)
	case c.reason == reasonInvalid && nb.trouble.why != "":
		return nb.trouble.why // which the line of our NOTIFICATION told
	case c.lost:
		return closedBy(nb.conf)
	}
	return c.reason
}

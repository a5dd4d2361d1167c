package bgp

import (
	"errors"
	"fmt"
	"net/netip"
)

// maxKey is TCP_MD5SIG_MAXKEYLEN of linux/tcp.h.
const maxKey = 80

// refusal is why a neighbor must not have a session as it is configured. Other
// than a step that failed, it is shown with the neighbor.
type refusal struct{ why string }

func (r *refusal) Error() string { return r.why }

// usable reports whether the session may be attempted: not without the password
// that it is to have.
func (n Neighbor) usable() error {
	p := n.Password
	switch word := p.Secret.Reveal(); {
	case unreadable(p):
		why := p.Err
		if why == "" {
			why = "it is empty"
		}
		return &refusal{fmt.Sprintf("its password %s cannot be read: %s; there is no session until it can be", p.From, why)}
	case len(word) > maxKey:
		return &refusal{fmt.Sprintf("its password %s has %d octets, and TCP-MD5 takes %d at most", p.From, len(word), maxKey)}
	}
	return nil
}

// protect has the kernel drop what is not the neighbor's, on the sockets that it
// may connect to and before GoBGP accepts a connection from it. What was said of
// the address before counts no more.
func (e *engine) protect(n Neighbor) error {
	least := uint8(0)
	if n.TTLSecurity > 0 {
		least = uint8(maxHops - uint(n.TTLSecurity))
	}
	if err := e.sockets.setHops(n.Addr, least); err != nil {
		if least > 0 {
			e.unprotect(n.Addr)
			return &refusal{fmt.Sprintf("packets that come too far cannot be dropped (ttlSecurity), so there is no session: %v; net.core.optmem_max is %s and may be too small", err, optmem())}
		}
	}
	if n.Password.Secret.IsZero() {
		e.sockets.dropKey(n.Addr)
		return nil
	}
	err := e.sockets.setKey(n.Addr, n.Password.Secret.Reveal())
	if err == nil {
		return nil
	}
	e.unprotect(n.Addr)
	if !errors.Is(err, errKeysFull) {
		return &refusal{fmt.Sprintf("its password cannot be set, so there is no session: %v", err)}
	}
	keys := len(e.sockets.keys)
	return &refusal{fmt.Sprintf("its password cannot be set, so there is no session: %d neighbors have one already and net.core.optmem_max is %s; sysctl -w net.core.optmem_max=%d makes room for this one, and each other needs %d more",
		keys, optmem(), optmemOwn+(keys+1)*keySize, keySize)}
}

// unprotect undoes protect.
func (e *engine) unprotect(addr netip.Addr) {
	e.sockets.dropKey(addr)
	_ = e.sockets.setHops(addr, 0) // a shorter filter fits
}

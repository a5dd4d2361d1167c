// Package ndp finds the router at the other end of a link that has no other
// addresses than link-local ones, for unnumbered BGP sessions: it listens to
// router advertisements (RFC 4861) on the devices it is given, and sends them
// there so that the other end finds us. Ours have a router lifetime of 0: who
// hears them must not take this machine as a default router.
//
// Packets are read from a raw socket, beside the kernel: whether the kernel
// itself heeds advertisements (net.ipv6.conf.DEVICE.accept_ra, which a machine
// that forwards does not) makes no difference here, and nothing here makes it.
package ndp

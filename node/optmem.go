package node

import (
	"log/slog"
	"strconv"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/fib"
)

// optmemKey is what the kernel lets a listener keep beside its data, the
// passwords of TCP-MD5 neighbors among it: without room for one, its session
// cannot come up.
const optmemKey = "net/core/optmem_max"

// makeRoom raises the limit to what the neighbors' passwords need, never lowers
// it, and reports whether it wrote. It comes before the neighbors: sessions whose
// key has no room stay down, with that reason.
func makeRoom(neighbors []bgp.Neighbor, set bool, log *slog.Logger, read func(string) (string, bool), write func(key, value string) error) bool {
	need := bgp.OptmemNeeded(neighbors)
	is, ok := read(optmemKey)
	has, err := strconv.Atoi(is)
	switch {
	case need == 0, !ok, err != nil, has >= need:
		return false
	case !set:
		log.Warn("the kernel may have no room for the passwords of all BGP neighbors; set it, or let caracald set kernel settings (setSysctls)",
			"key", optmemKey, "is", is, "must", need)
		return false
	}
	if err := write(optmemKey, strconv.Itoa(need)); err != nil {
		log.Warn("the kernel may have no room for the passwords of all BGP neighbors", "key", optmemKey, "is", is, "must", need, "err", err)
		return false
	}
	log.Info("kernel setting written", "key", optmemKey, "was", is, "is", need, "why", "room for the passwords of BGP neighbors")
	return true
}

// room is makeRoom on this machine.
func (t *speakerTask) room(c bgp.Config, set bool) {
	makeRoom(c.Neighbors, set, t.log, fib.ReadSysctl, fib.WriteSysctl)
}

package main

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"

	"caracal.dev/caracal/bench/sender"
	"caracal.dev/caracal/bench/stand"
)

// base is the address that [stand.Split] counts from.
const base = 10 << 24

// held is what one client has by the reflector: a bit for each /32.
type held struct {
	mu    sync.Mutex
	bits  []uint64
	count int
	from  uint32 // the client's own block, which does not count
	to    uint32
	all   *tally
}

// tally sums up what all clients hold.
type tally struct{ total atomic.Int64 }

// newHeld returns the counters of each client of the shares.
func newHeld(shares []stand.Share) ([]*held, *tally) {
	all := &tally{}
	last := shares[len(shares)-1].Block
	size := binary.BigEndian.Uint32(last.Addr().AsSlice()) - base + 1<<(32-last.Bits())
	list := make([]*held, len(shares))
	for i, s := range shares {
		from := binary.BigEndian.Uint32(s.Block.Addr().AsSlice())
		list[i] = &held{bits: make([]uint64, (size+63)/64), from: from, to: from + 1<<(32-s.Block.Bits()), all: all}
	}
	return list, all
}

// message takes what the client received: see sender.Config.OnMessage.
func (h *held) message(kind byte, body []byte) {
	if kind != sender.Update || len(body) < 4 {
		return
	}
	withdrawn := int(binary.BigEndian.Uint16(body))
	if len(body) < 4+withdrawn {
		return
	}
	attrs := int(binary.BigEndian.Uint16(body[2+withdrawn:]))
	if len(body) < 4+withdrawn+attrs {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.count
	h.each(body[2:2+withdrawn], false)
	h.each(body[4+withdrawn+attrs:], true)
	h.all.total.Add(int64(h.count - before))
}

// each sets or clears the bits of a list of /32 NLRI (RFC 4271 section 4.3);
// other lengths, such as a reflector's own blocks, are skipped.
func (h *held) each(nlri []byte, on bool) {
	for len(nlri) > 0 {
		n := 1 + (int(nlri[0])+7)/8
		if n > len(nlri) {
			return
		}
		if nlri[0] == 32 {
			h.set(binary.BigEndian.Uint32(nlri[1:]), on)
		}
		nlri = nlri[n:]
	}
}

func (h *held) set(addr uint32, on bool) {
	i := addr - base
	if addr >= h.from && addr < h.to || int(i/64) >= len(h.bits) {
		return
	}
	word, bit := &h.bits[i/64], uint64(1)<<(i%64)
	was := bits.OnesCount64(*word & bit)
	if on {
		*word |= bit
	} else {
		*word &^= bit
	}
	h.count += bits.OnesCount64(*word&bit) - was
}

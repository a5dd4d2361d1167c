package felix

import (
	"bytes"
)

// survey is what one variant of iptables has of other programs.
type survey struct {
	usable bool // its programs are there, and the kernel has what they need
	hint   bool // kubelet's chains are there: what a node's programs should use
	rules  int  // of others
}

// chooseBackend returns the variant that the host's other programs use, and why.
// usual is that of the program iptables.
func chooseBackend(nft, legacy survey, usual string) (backend, why string) {
	switch {
	case !nft.usable && !legacy.usable:
		return "", ""
	case !legacy.usable:
		return BackendNFT, "it is the only one here"
	case !nft.usable:
		return BackendLegacy, "it is the only one here"
	case nft.hint != legacy.hint && nft.hint:
		return BackendNFT, "kubelet uses it"
	case nft.hint != legacy.hint:
		return BackendLegacy, "kubelet uses it"
	case nft.rules > legacy.rules:
		return BackendNFT, "other programs have their rules there"
	case legacy.rules > nft.rules:
		return BackendLegacy, "other programs have their rules there"
	case usual != "":
		return usual, "it is what iptables is here"
	}
	return BackendNFT, "no program uses either"
}

// line counts a line of iptables-save. The chains are those that kubelet makes to
// say which variant it uses (Kubernetes, KEP-3178).
func (s *survey) line(line []byte) {
	for _, hint := range []string{":KUBE-IPTABLES-HINT ", ":KUBE-KUBELET-CANARY "} {
		if bytes.HasPrefix(line, []byte(hint)) {
			s.hint = true
		}
	}
	_, rule := cutCounters(line)
	name, ok := bytes.CutPrefix(rule, []byte("-A "))
	if !ok || bytes.HasPrefix(name, prefixBytes) {
		return
	}
	if _, comment, ok := bytes.Cut(rule, commentWord); ok && bytes.HasPrefix(bytes.TrimPrefix(comment, []byte(`"`)), guardMark) {
		return
	}
	s.rules++
}

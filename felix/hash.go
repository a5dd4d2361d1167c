package felix

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"hash/fnv"
	"strings"
)

// A rule of ours says so in its comment, and what it is:
//
//	caracal:Xa9bQ0r2Lw81kPzT default/web ingress 0
//
// The hash covers the chain's name and all rules up to this one, so a chain whose
// rules have the hashes that are expected of them, in order and without gaps, is
// as it was written. What iptables prints of a rule is never compared with what
// it was told: it has its own words and order for many things.
const (
	// ruleMark begins the comment of each rule of ours.
	ruleMark = "caracal:"
	// hashLen is the length of a rule's hash as text. No comment of another room
	// has a word of this length after the mark.
	hashLen = 16
	// maxComment is how long we let a comment become. The kernel's limit is 255
	// bytes (XT_MAX_COMMENT_LEN, xt_comment.h).
	maxComment = 240
)

// ruleHasher gives the rules of one chain their hashes, in order.
type ruleHasher struct {
	state [sha256.Size]byte
	buf   []byte
}

func newRuleHasher(chain string) *ruleHasher {
	return &ruleHasher{state: sha256.Sum256([]byte(chain))}
}

// next returns the hash of the chain's next rule.
func (h *ruleHasher) next(r Rule) [hashLen]byte {
	h.buf = append(h.buf[:0], h.state[:]...)
	h.buf = append(h.buf, r.Spec...)
	h.buf = append(h.buf, 0)
	h.buf = append(h.buf, r.About...)
	h.state = sha256.Sum256(h.buf)
	var text [hashLen]byte
	base64.RawURLEncoding.Encode(text[:], h.state[:hashLen*3/4])
	return text
}

// hookHash is the hash of a rule in one of the kernel's chains, where it stands
// for itself.
func hookHash(chain string, r Rule) string {
	h := newRuleHasher("hook " + chain).next(r)
	return string(h[:])
}

// chainDigest sums up the hashes of a chain's rules in order. A rule without our
// mark counts as one with an empty hash.
type chainDigest struct {
	rules int
	sum   uint64
}

const fnvPrime = 1099511628211 // the prime of 64-bit FNV-1a

func (d *chainDigest) add(hash []byte) {
	if d.rules == 0 {
		d.sum = fnv.New64a().Sum64()
	}
	d.rules++
	for _, b := range hash {
		d.sum = (d.sum ^ uint64(b)) * fnvPrime
	}
	d.sum = (d.sum ^ '\n') * fnvPrime
}

// digestOf returns the digest that a chain with these rules has.
func digestOf(chain string, rules []Rule) chainDigest {
	var d chainDigest
	h := newRuleHasher(chain)
	for _, r := range rules {
		text := h.next(r)
		d.add(text[:])
	}
	return d
}

// appendRule appends a rule in the words of iptables-restore, after "-A CHAIN "
// and the like.
func appendRule(b []byte, r Rule, hash string) []byte {
	b = append(b, r.Spec...)
	if r.Spec != "" {
		b = append(b, ' ')
	}
	b = append(b, `-m comment --comment "`...)
	from := len(b)
	b = append(b, ruleMark...)
	b = append(b, hash...)
	if about := plainAbout(r.About); about != "" {
		b = append(b, ' ')
		b = append(b, about...)
	}
	if len(b)-from > maxComment {
		cut := strings.ToValidUTF8(string(b[from:from+maxComment]), "")
		b = append(b[:from], cut...)
	}
	return append(b, '"')
}

// plainAbout returns text without what would end a quoted word of iptables.
func plainAbout(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == '"' || r == '\\' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// commentWord precedes a comment in what iptables-save prints.
var commentWord = []byte("--comment ")

// readMark returns the hash and the About of a rule of ours in a line of
// iptables-save, or false. Both are parts of line.
func readMark(line []byte) (hash, about []byte, ours bool) {
	i := bytes.Index(line, commentWord)
	if i < 0 {
		return nil, nil, false
	}
	rest := line[i+len(commentWord):]
	quoted := len(rest) > 0 && rest[0] == '"'
	if quoted {
		rest = rest[1:]
	}
	if !bytes.HasPrefix(rest, []byte(ruleMark)) || len(rest) < len(ruleMark)+hashLen {
		return nil, nil, false
	}
	rest = rest[len(ruleMark):]
	hash, rest = rest[:hashLen], rest[hashLen:]
	if bytes.ContainsAny(hash, "\" ") {
		return nil, nil, false
	}
	if !quoted || len(rest) > 0 && rest[0] == '"' {
		return hash, nil, len(rest) == 0 || rest[0] == ' ' || rest[0] == '"'
	}
	if len(rest) == 0 || rest[0] != ' ' {
		return nil, nil, false
	}
	end := bytes.IndexByte(rest, '"')
	if end < 0 {
		return nil, nil, false
	}
	return hash, rest[1:end], true
}

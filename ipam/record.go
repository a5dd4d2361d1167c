package ipam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// The prefixes of the keys of a [Store].
const (
	blockKeys    = "block/"
	affinityKeys = "affinity/"
	borrowedKeys = "borrowed/"
)

// recordVersion is that of the texts below. A record of a later one counts as
// damaged: this program does not know what it says.
const recordVersion = 1

// errNewer: a record is of a version that this program does not know.
var errNewer = errors.New("which this program does not know")

// Escape makes a part of a key of any string: bytes that keys do not have become
// "%" and two hexadecimal digits.
func Escape(s string) string {
	const hex = "0123456789abcdef"
	var b strings.Builder
	for i := range len(s) {
		if keyByte(s[i]) {
			b.WriteByte(s[i])
		} else {
			b.WriteByte('%')
			b.WriteByte(hex[s[i]>>4])
			b.WriteByte(hex[s[i]&15])
		}
	}
	return b.String()
}

// Unescape returns what [Escape] was given.
func Unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		if i+2 >= len(s) || unhex(s[i+1]) < 0 || unhex(s[i+2]) < 0 {
			return "", fmt.Errorf("ipam: unescape %q: %% is not followed by two hexadecimal digits", s)
		}
		b.WriteByte(byte(unhex(s[i+1])<<4 | unhex(s[i+2])))
		i += 2
	}
	return b.String(), nil
}

func unhex(c byte) int { return strings.IndexByte("0123456789abcdef", c) }

func keyByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-' || c == ':'
}

// ValidKey reports whether a text can be the key of a [Record].
func ValidKey(key string) bool {
	for part := range strings.SplitSeq(key, "/") {
		if part == "" {
			return false
		}
		for i := range len(part) {
			if part[i] != '%' && !keyByte(part[i]) {
				return false
			}
		}
	}
	return true
}

// BlockKey returns the key of a block's record.
func BlockKey(p netip.Prefix) string { return blockKeys + dashed(p) }

func affinityKey(node string, p netip.Prefix) string {
	return affinityKeys + Escape(node) + "/" + dashed(p)
}

func borrowedKey(a netip.Addr) string { return borrowedKeys + a.String() }

func dashed(p netip.Prefix) string { return strings.Replace(p.String(), "/", "-", 1) }

func undashed(s string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(strings.Replace(s, "-", "/", 1))
	return p, err == nil && p == p.Masked()
}

// blockOfKey returns the block that a key is about.
func blockOfKey(key string) (netip.Prefix, bool) {
	s, ok := strings.CutPrefix(key, blockKeys)
	if !ok {
		return netip.Prefix{}, false
	}
	return undashed(s)
}

// affinityOfKey returns the node and block that a key is about.
func affinityOfKey(key string) (node string, p netip.Prefix, ok bool) {
	s, ok := strings.CutPrefix(key, affinityKeys)
	escaped, cidr, cut := strings.Cut(s, "/")
	if !ok || !cut {
		return "", p, false
	}
	node, err := Unescape(escaped)
	p, ok = undashed(cidr)
	return node, p, ok && err == nil && node != ""
}

// blockHead is the first line of a block's record.
type blockHead struct {
	Version int          `json:"version"`
	Block   netip.Prefix `json:"block"`
	Node    string       `json:"node"`
	// Last is the address that was given last: the next is given after it.
	Last netip.Addr `json:"last,omitzero"`
	// Rest is when the whole block's addresses began to rest, after a damage.
	Rest time.Time `json:"rest,omitzero"`
}

// entryLine is one of the further lines: an address that is given, or rests.
type entryLine struct {
	Addr        netip.Addr   `json:"addr"`
	Handle      string       `json:"handle,omitempty"`
	Node        string       `json:"node,omitempty"` // where not the block's
	Kind        string       `json:"kind,omitempty"`
	ContainerID string       `json:"container,omitempty"`
	Interface   string       `json:"ifname,omitempty"`
	Namespace   string       `json:"namespace,omitempty"`
	Name        string       `json:"name,omitempty"`
	NetNS       string       `json:"netns,omitempty"`
	Since       time.Time    `json:"since,omitzero"`
	With        []netip.Addr `json:"with,omitempty"`
	Freed       time.Time    `json:"freed,omitzero"`
}

// record returns the text of the block's record, which is good until the next
// change.
func (b *block) record() []byte {
	var room [256]byte
	if b.head == nil {
		b.head = append(b.head, `{"version":1,"block":"`...)
		b.head = b.cidr.AppendTo(b.head)
		b.head = appendField(append(b.head, '"'), "node", b.node)
	}
	first := append(room[:0], b.head...)
	if b.last.IsValid() {
		first = append(first, `,"last":"`...)
		first = b.last.AppendTo(first)
		first = append(first, '"')
	}
	first = appendTime(first, "rest", b.rest)
	first = append(first, '}', '\n')
	if b.lines.stale {
		b.lines.remake(first, b.entries, b.node)
	} else {
		b.lines.begin(first)
	}
	return b.lines.text
}

// encode appends the line of an entry.
func (e *entry) encode(buf []byte, blockNode string) []byte {
	buf = append(buf, `{"addr":"`...)
	buf = e.addr.AppendTo(buf)
	buf = append(buf, '"')
	buf = appendField(buf, "handle", e.handle)
	if e.node != blockNode {
		buf = appendField(buf, "node", e.node)
	}
	buf = appendField(buf, "kind", e.owner.Kind)
	buf = appendField(buf, "container", e.owner.ContainerID)
	buf = appendField(buf, "ifname", e.owner.Interface)
	buf = appendField(buf, "namespace", e.owner.Namespace)
	buf = appendField(buf, "name", e.owner.Name)
	buf = appendField(buf, "netns", e.owner.NetNS)
	buf = appendTime(buf, "since", e.since)
	if len(e.with) > 0 {
		buf = append(buf, `,"with":[`...)
		for i, a := range e.with {
			if i > 0 {
				buf = append(buf, ',')
			}
			buf = append(buf, '"')
			buf = a.AppendTo(buf)
			buf = append(buf, '"')
		}
		buf = append(buf, ']')
	}
	buf = appendTime(buf, "freed", e.freed)
	return append(buf, '}', '\n')
}

func appendField(buf []byte, name, value string) []byte {
	if value == "" {
		return buf
	}
	buf = append(buf, ',', '"')
	buf = append(buf, name...)
	buf = append(buf, '"', ':')
	for i := range len(value) {
		if c := value[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, _ := json.Marshal(value) // a string is always JSON
			return append(buf, quoted...)
		}
	}
	buf = append(buf, '"')
	buf = append(buf, value...)
	return append(buf, '"')
}

func appendTime(buf []byte, name string, t time.Time) []byte {
	if t.IsZero() {
		return buf
	}
	buf = append(buf, ',', '"')
	buf = append(buf, name...)
	buf = append(buf, '"', ':', '"')
	buf = t.UTC().AppendFormat(buf, time.RFC3339Nano)
	return append(buf, '"')
}

// decodeBlock reads a block's record. Whatever is not as it should be is an
// error: half a block is worse than none.
func decodeBlock(r Record) (*block, error) {
	lines := bytes.SplitAfter(r.Value, []byte("\n"))
	if len(lines) < 2 || len(lines[len(lines)-1]) > 0 {
		return nil, errors.New("it does not end with a whole line")
	}
	lines = lines[:len(lines)-1]
	var head blockHead
	if err := strictJSON(lines[0], &head); err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	if head.Version < recordVersion {
		return nil, errors.New("line 1: it has no version")
	}
	if head.Version > recordVersion {
		return nil, fmt.Errorf("it has version %d, %w", head.Version, errNewer)
	}
	if head.Node == "" || BlockKey(head.Block) != r.Key {
		return nil, fmt.Errorf("it is about block %s of node %q", head.Block, head.Node)
	}
	b := &block{key: r.Key, cidr: head.Block, node: head.Node, last: head.Last, rest: head.Rest, revision: r.Revision}
	if b.last.IsValid() && !b.cidr.Contains(b.last) {
		return nil, fmt.Errorf("the last address %s is not of the block", b.last)
	}
	b.entries = make([]*entry, 0, len(lines)-1)
	b.lines.text, b.lines.first = bytes.Clone(r.Value), len(lines[0])
	for i, line := range lines[1:] {
		e, err := decodeEntry(line, b)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2, err)
		}
		if n := len(b.entries); n > 0 && !b.entries[n-1].addr.Less(e.addr) {
			return nil, fmt.Errorf("line %d: %s is not after %s", i+2, e.addr, b.entries[n-1].addr)
		}
		b.entries = append(b.entries, e)
		b.lines.ends = append(b.lines.ends, b.lines.end(i)+len(line))
		if !e.freed.IsZero() {
			b.freed++
		}
	}
	return b, nil
}

func decodeEntry(line []byte, b *block) (*entry, error) {
	var l entryLine
	if err := strictJSON(line, &l); err != nil {
		return nil, err
	}
	if !b.cidr.Contains(l.Addr) {
		return nil, fmt.Errorf("address %s is not of the block", l.Addr)
	}
	if l.Freed.IsZero() && l.Handle == "" {
		return nil, fmt.Errorf("address %s is given to nobody", l.Addr)
	}
	if l.Node == "" {
		l.Node = b.node
	}
	return &entry{
		block: b, addr: l.Addr, handle: l.Handle, node: l.Node, since: l.Since, with: l.With, freed: l.Freed,
		owner: Owner{
			Kind: l.Kind, ContainerID: l.ContainerID, Interface: l.Interface,
			Namespace: l.Namespace, Name: l.Name, NetNS: l.NetNS,
		},
	}, nil
}

func strictJSON(line []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if d.More() {
		return errors.New("there is more after the object")
	}
	return nil
}

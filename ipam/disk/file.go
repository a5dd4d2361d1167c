package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"caracal.dev/caracal/ipam"
)

// magic begins the first line of a record's file; the version follows, then the
// SHA-256 of all that is after it, and the key. The value is the rest.
const magic = "caracal-ipam 1 "

// maxName is the longest file name; see NAME_MAX in <linux/limits.h>.
const maxName = 255

// encode returns the content of a record's file.
func encode(r ipam.Record) []byte {
	body := make([]byte, 0, len(r.Key)+1+len(r.Value))
	body = append(append(append(body, r.Key...), '\n'), r.Value...)
	sum := sha256.Sum256(body)
	text := make([]byte, 0, len(magic)+2*len(sum)+1+len(body))
	text = append(text, magic...)
	text = hex.AppendEncode(text, sum[:])
	text = append(text, ' ')
	return append(text, body...)
}

// decode is the reverse of encode. The error wraps [ipam.ErrDamaged].
func decode(text []byte) (ipam.Record, error) {
	if len(text) == 0 {
		return ipam.Record{}, fmt.Errorf("it is empty: %w", ipam.ErrDamaged)
	}
	rest, ok := bytes.CutPrefix(text, []byte(magic))
	if !ok {
		return ipam.Record{}, fmt.Errorf("it does not begin as a record does: %w", ipam.ErrDamaged)
	}
	sum, body, ok := bytes.Cut(rest, []byte(" "))
	have := sha256.Sum256(body)
	if !ok || string(sum) != hex.EncodeToString(have[:]) {
		return ipam.Record{}, fmt.Errorf("its checksum does not fit its content: %w", ipam.ErrDamaged)
	}
	key, value, ok := bytes.Cut(body, []byte("\n"))
	if !ok || !ipam.ValidKey(string(key)) {
		return ipam.Record{}, fmt.Errorf("it has no key: %w", ipam.ErrDamaged)
	}
	return ipam.Record{Key: string(key), Value: value}, nil
}

// fileName returns the name of a record's file: the key with "/" as "_", which
// keys do not have. A key that is too long for that is cut, and its hash added.
func fileName(key string) string {
	name := strings.ReplaceAll(key, "/", "_")
	if len(name)+len(suffix)+len("~99.mended") > maxName {
		sum := sha256.Sum256([]byte(key))
		name = name[:120] + "=" + hex.EncodeToString(sum[:16])
	}
	return name + suffix
}

// keyOf returns the key that a file name without suffix is of; false if it does
// not say.
func keyOf(name string) (string, bool) {
	key := strings.ReplaceAll(name, "_", "/")
	if !ipam.ValidKey(key) {
		return "", false
	}
	return key, true
}

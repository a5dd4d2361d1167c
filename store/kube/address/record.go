package address

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// FileName is the record of the choice in the state directory.
const FileName = "address.json"

// record is what is kept of a choice: with another method it is chosen anew.
type record struct {
	Method string       `json:"method"`
	IPv4   netip.Prefix `json:"ipv4,omitzero"`
	IPv6   netip.Prefix `json:"ipv6,omitzero"`
}

// load reads the record; the zero record if there is none.
func load(dir string) (r record, err error) {
	b, err := os.ReadFile(filepath.Join(dir, FileName))
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err == nil && (r.IPv4.IsValid() && !r.IPv4.Addr().Is4() || r.IPv6.IsValid() && !r.IPv6.Addr().Is6()) {
		err = errors.New("an address is of the other family")
	}
	if err != nil {
		return record{}, fmt.Errorf("read the node's address on record in %s: %w", filepath.Join(dir, FileName), err)
	}
	return r, nil
}

// save writes the record so that it is whole after a crash.
func (r record) save(dir string) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := filepath.Join(dir, FileName)
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

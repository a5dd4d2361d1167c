package endpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"caracal.dev/caracal"
)

const (
	suffix  = ".json"
	corrupt = ".corrupt"
	temp    = ".tmp-"
	// magic begins the first line of a record; the version and the checksum of the
	// rest follow.
	magic     = "caracal-endpoint 1 "
	maxRecord = 1 << 20 // bytes
)

// records is a directory with a file for each endpoint, named for its host
// interface. Each file is written beside and renamed into place, so that the
// process may die at any time and leaves the old one or the new.
//
// The disk is not waited for: a record is about containers of this boot, and none
// is left after the power failed. What must outlive that, which addresses may not
// be given again yet, is in the address records, on disk before anybody is told;
// they also have what a record that is torn is made again from.
//
// Files of different endpoints may be written at the same time.
type records struct {
	path string
	// crash, in tests, ends a write at a step by its error.
	crash func(step string) error
}

// damaged is a record that cannot be read. It was set aside.
type damaged struct {
	hostInterface string
	file, reason  string
}

// load reads every record. A directory that does not exist is empty.
func (d *records) load() ([]*Endpoint, []damaged, error) {
	entries, err := os.ReadDir(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var list []*Endpoint
	var bad []damaged
	var errs []error
	for _, f := range entries {
		name := f.Name()
		if strings.HasPrefix(name, temp) { // what a crash left: never answered for
			errs = append(errs, os.Remove(filepath.Join(d.path, name)))
			continue
		}
		link, ok := strings.CutSuffix(name, suffix)
		if !ok {
			continue
		}
		e, reason, err := d.read(name, link)
		switch {
		case err != nil:
			errs = append(errs, err)
		case reason != "":
			bad = append(bad, d.setAside(name, link, reason))
		default:
			list = append(list, e)
		}
	}
	return list, bad, errors.Join(errs...)
}

// read returns a record, or the reason why it is none.
func (d *records) read(name, link string) (e *Endpoint, reason string, err error) {
	path := filepath.Join(d.path, name)
	if st, err := os.Lstat(path); err != nil {
		return nil, "", err
	} else if !st.Mode().IsRegular() || st.Size() > maxRecord {
		return nil, "it is not a file of a record's size", nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	e, reason = decode(string(b))
	if reason == "" && e.HostInterface() != link {
		return nil, fmt.Sprintf("it is the record of %s, and belongs into %s", e.ID, e.HostInterface()+suffix), nil
	}
	return e, reason, nil
}

func encode(e *Endpoint) (string, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	body := string(b) + "\n"
	return magic + checksum(body) + "\n" + body, nil
}

func decode(text string) (*Endpoint, string) {
	head, body, ok := strings.Cut(text, "\n")
	sum, isOurs := strings.CutPrefix(head, magic)
	switch {
	case text == "":
		return nil, "it is empty"
	case !isOurs:
		return nil, "it does not begin as a record does"
	case !ok || checksum(body) != sum:
		return nil, "its checksum does not fit its content"
	}
	e := &Endpoint{}
	if err := json.Unmarshal([]byte(body), e); err != nil {
		return nil, "it is no JSON: " + err.Error()
	}
	return e, ""
}

func checksum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func (d *records) setAside(name, link, reason string) damaged {
	from, to := filepath.Join(d.path, name), filepath.Join(d.path, name+corrupt)
	if err := os.Rename(from, to); err != nil {
		return damaged{link, from, reason + "; it could not be set aside: " + err.Error()}
	}
	if !caracal.IsHostInterface(link) {
		link = ""
	}
	return damaged{link, to, reason}
}

// write puts the record in place, where the end of the process does not lose it.
func (d *records) write(e *Endpoint) error {
	text, err := encode(e)
	if err != nil {
		return fmt.Errorf("encode the record of %s: %w", e.ID, err)
	}
	if len(text) > maxRecord {
		return fmt.Errorf("%w: it would take %d bytes, and a record has at most %d: give it fewer or shorter labels", ErrInvalid, len(text), maxRecord)
	}
	if err := os.MkdirAll(d.path, 0o700); err != nil {
		return err
	}
	tmp, err := d.writeTemp(text)
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(d.path, e.HostInterface()+suffix)); err != nil {
		_ = os.Remove(tmp)
		return err
	}
	return d.step("renamed")
}

// writeTemp writes a new file and returns its name.
func (d *records) writeTemp(text string) (string, error) {
	f, err := os.CreateTemp(d.path, temp)
	if err != nil {
		return "", err
	}
	half := len(text) / 2
	_, err = f.WriteString(text[:half])
	if err == nil {
		if crash := d.step("half"); crash != nil {
			f.Close()
			return "", crash // as a crash leaves it
		}
		_, err = f.WriteString(text[half:])
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), d.step("written")
}

// remove deletes the record of an endpoint; one that is gone is no error.
func (d *records) remove(e *Endpoint) error {
	err := os.Remove(filepath.Join(d.path, e.HostInterface()+suffix))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (d *records) step(name string) error {
	if d.crash == nil {
		return nil
	}
	return d.crash(name)
}

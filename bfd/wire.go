package bfd

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// request is what a [Process] asks its worker. Each but opBegin is answered, in
// order.
type request struct {
	Op       op
	Sessions []Session // of opApply
	// StateFile and Hold are of opBegin.
	StateFile string
	Hold      time.Duration
}

type op uint8

const (
	opBegin  op = iota + 1 // the first
	opApply                // answered with Failed
	opStatus               // answered with Status and Stats
	opLeave                // the last: AdminDown
)

// reply is what the worker says: an answer, or without being asked Events.
type reply struct {
	Answer bool
	Failed map[string]string
	Status []Status
	Stats  Stats
	Events []Event
}

// wire carries values in both directions, one goroutine for each.
type wire struct {
	net.Conn
	mu  sync.Mutex // held while encoding
	enc *gob.Encoder
	dec *gob.Decoder
}

func newWire(f *os.File) (*wire, error) {
	defer f.Close() // FileConn has a copy
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return &wire{Conn: c, enc: gob.NewEncoder(c), dec: gob.NewDecoder(c)}, nil
}

func (w *wire) send(v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.enc.Encode(v)
}

// save replaces the file of paused sessions.
func save(path string, saved []Saved) error {
	b, err := json.MarshalIndent(saved, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	part := path + ".part"
	if err := os.WriteFile(part, append(b, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(part, path)
}

// load takes the paused sessions out of their file: they can be resumed once.
func load(path string) ([]Saved, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if err := os.Remove(path); err != nil {
		return nil, err
	}
	var saved []Saved
	if err := json.Unmarshal(b, &saved); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return saved, nil
}

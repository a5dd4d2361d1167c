package ipam

import (
	"encoding/json"
	"errors"
	"fmt"
)

// WithState returns the record of a claim or of a borrowed address in another state.
func WithState(r Record, state Affinity) (Record, error) {
	s, ok := SubjectOf(r.Key)
	var line stateLine
	err := strictJSON(r.Value, &line)
	if err == nil {
		err = line.check()
	}
	if !ok || s.Kind == BlockSubject {
		err = errors.New("it is no claim")
	}
	if err != nil {
		return r, fmt.Errorf("ipam: change the state of a claim: %s: %w", badRecord(r.Key, err), ErrDamaged)
	}
	line.State = state
	text, _ := json.Marshal(line) // has no unencodable value
	r.Value = append(text, '\n')
	return r, nil
}

package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"caracal.dev/caracal/bgp"
	"caracal.dev/caracal/node/api"
)

// drainState is how far a node has got in leaving. It is written down at each
// change, so that a restart goes on where the last process was. The zero value
// is a node that serves.
type drainState struct {
	Stage api.DrainStage `json:"stage"`
	// Since is when the drain was asked for.
	Since time.Time `json:"since"`
	// Wait is how long traffic has to go elsewhere, from MovingSince on, when what
	// asks it to was announced; zero until it was.
	Wait        time.Duration `json:"wait"`
	MovingSince time.Time     `json:"movingSince"`
	// Force closes the sessions though workloads are still here.
	Force bool `json:"force"`
}

// drainSeen is what a drainState goes on by.
type drainSeen struct {
	now time.Time
	// applied is the stage that the speaker has carried out.
	applied bgp.Drain
	// workloads counts those of this node; known says that none can be missing.
	workloads int
	known     bool
}

// begin asks for a drain, or for more of one that is under way: a shorter or a
// longer wait, or force. Force is not taken back but by an undrain.
func (s drainState) begin(now time.Time, wait time.Duration, force bool) drainState {
	if s.Stage == api.DrainServing {
		return drainState{Stage: api.DrainMoving, Since: now, Wait: wait, Force: force}
	}
	s.Wait, s.Force = wait, s.Force || force
	return s
}

// next is the state after what was seen.
func (s drainState) next(seen drainSeen) drainState {
	if s.Stage == api.DrainMoving {
		switch {
		case seen.applied < bgp.DrainLast:
			return s
		case s.MovingSince.IsZero(), s.MovingSince.After(seen.now): // a clock was set back over a restart
			s.MovingSince = seen.now
		}
		if seen.now.Before(s.MovingSince.Add(s.Wait)) {
			return s
		}
		s.Stage = api.DrainAway
	}
	if s.Stage == api.DrainAway && seen.applied == bgp.DrainOut && (s.Force || seen.known && seen.workloads == 0) {
		s.Stage = api.DrainClosed
	}
	return s
}

// wants is what the speaker is to do.
func (s drainState) wants() bgp.Drain {
	switch s.Stage {
	case api.DrainServing:
		return bgp.DrainNone
	case api.DrainMoving:
		return bgp.DrainLast
	default:
		return bgp.DrainOut
	}
}

// drainFile is the file in the state directory that says that the node is
// drained. A node that serves has none.
const drainFile = "drain"

// readDrain returns what was written down in dir: the zero state if nothing.
func readDrain(dir string) (drainState, error) {
	var s drainState
	if dir == "" {
		return s, nil
	}
	path := filepath.Join(dir, drainFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err == nil && !s.Stage.Valid() {
		err = fmt.Errorf("%s: there is no stage %q", path, s.Stage)
	}
	if err != nil {
		return drainState{}, fmt.Errorf("node: read drain: %w", err)
	}
	return s, nil
}

// writeDrain writes s down, in one rename and synced to the disk: a host that is
// drained to be switched off must still be drained when it is switched on.
func writeDrain(dir string, s drainState) error {
	if dir == "" {
		return nil
	}
	if err := replaceDrain(filepath.Join(dir, drainFile), s); err != nil {
		return fmt.Errorf("node: write drain: %w", err)
	}
	return nil
}

func replaceDrain(path string, s drainState) error {
	if s.Stage == api.DrainServing {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Neighbor is what "caracal show protocols -o json" says of one session, as far
// as stories need it.
type Neighbor struct {
	Name      string    `json:"name"`
	Node      string    `json:"node"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	Families  []string  `json:"families"`
	EndOfRIB  []string  `json:"endOfRib"`
	Flaps     int       `json:"flaps"`
	LastError string    `json:"lastError"`
}

// Path is what "caracal show route -o json" says of one path.
type Path struct {
	Prefix    string `json:"prefix"`
	Neighbor  string `json:"neighbor"`
	Source    string `json:"source"`
	Best      bool   `json:"best"`
	Refused   bool   `json:"refused"`
	Stale     bool   `json:"stale"`
	Installed bool   `json:"installed"`
	Why       string `json:"why"`
	Kernel    string `json:"kernel"`
}

// Problem is an entry of "caracal show status -o json".
type Problem struct {
	Severity string `json:"severity"`
	Source   string `json:"source"`
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Message  string `json:"message"`
}

// Fact is a thing that holds, or the reason why it does not.
type Fact struct {
	Holds  bool   `json:"holds"`
	Reason string `json:"reason"`
}

// Status is what "caracal show status -o json" says.
type Status struct {
	Node      string    `json:"node"`
	Digest    string    `json:"digest"`
	Ready     Fact      `json:"ready"`
	Complete  Fact      `json:"complete"`
	Converged Fact      `json:"converged"`
	Problems  []Problem `json:"problems"`
	Counts    struct {
		Refused       int `json:"refused"`
		FIBInstalled  int `json:"fibInstalled"`
		FIBFailed     int `json:"fibFailed"`
		FIBStale      int `json:"fibStale"`
		DriftRepaired int `json:"driftRepaired"`
	} `json:"counts"`
}

// Neighbors asks the node's daemon for its sessions.
func (n *Node) Neighbors(ctx context.Context) ([]Neighbor, error) {
	var out struct{ Neighbors []Neighbor }
	err := n.decode(ctx, &out, "show", "protocols")
	return out.Neighbors, err
}

// Paths asks the node's daemon for paths; words are what follows "show route".
func (n *Node) Paths(ctx context.Context, words ...string) ([]Path, error) {
	var out struct{ Paths []Path }
	err := n.decode(ctx, &out, append([]string{"show", "route"}, words...)...)
	return out.Paths, err
}

// Status asks the node's daemon how it is.
func (n *Node) Status(ctx context.Context) (Status, error) {
	var out Status
	err := n.decode(ctx, &out, "show", "status")
	return out, err
}

func (n *Node) decode(ctx context.Context, into any, words ...string) error {
	text, err := n.CLI(ctx, append(words, "-o", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("lab: %q on %s: %w: %s", strings.Join(words, " "), n.Name, err, text)
	}
	return nil
}

// established is a session's state in which routes flow (RFC 4271 section
// 8.2.2).
const established = "Established"

// WaitSessions returns when every caracald that runs in the lab has the sessions
// that the topology says, with each other node if it says nothing, and all that
// it has are established. When ctx ends first the error tells which are not.
func (l *Lab) WaitSessions(ctx context.Context) error {
	for {
		missing := l.missingSessions(ctx)
		if len(missing) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: wait for sessions: %w; %s", ctx.Err(), strings.Join(missing, "; "))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (l *Lab) missingSessions(ctx context.Context) []string {
	var missing []string
	nodes := l.Nodes()
	for _, n := range nodes {
		p := n.Process("caracald")
		if p == nil || !p.Running() {
			continue
		}
		neighbors, err := n.Neighbors(context.WithoutCancel(ctx))
		if err != nil {
			missing = append(missing, err.Error())
			continue
		}
		if n.Sessions != 0 && len(neighbors) != n.Sessions {
			missing = append(missing, fmt.Sprintf("%s has %s, not %d", n.Name, count(len(neighbors), "neighbor"), n.Sessions))
		}
		for _, nb := range neighbors {
			if nb.State != established && (n.Sessions != 0 || nb.Node != "") {
				missing = append(missing, fmt.Sprintf("%s: %s is %s %s", n.Name, nb.Name, nb.State, nb.LastError))
			}
		}
		for _, other := range nodes {
			if n.Sessions == 0 && other != n && !slices.ContainsFunc(neighbors, func(nb Neighbor) bool { return nb.Node == other.Name }) {
				missing = append(missing, n.Name+" has no neighbor "+other.Name)
			}
		}
	}
	return missing
}

// StartAll starts caracald on every node.
func (l *Lab) StartAll() error {
	var errs []error
	for _, n := range l.Nodes() {
		_, err := n.StartCaracald()
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

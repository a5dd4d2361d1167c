package api

import (
	"fmt"
	"time"
)

// DefaultDrainWait is how long traffic has to go elsewhere before what it came
// for is withdrawn.
const DefaultDrainWait = 10 * time.Second

// DrainStage is how far a node has got in leaving.
type DrainStage string

// The stages of [Drain], in their order.
const (
	// DrainServing: the node is not drained.
	DrainServing DrainStage = ""
	// DrainMoving: what it announces together with others, or passes on, is marked
	// as the last choice (RFC 8326).
	DrainMoving DrainStage = "moving"
	// DrainAway: that is withdrawn. Routes to its own workloads are announced as
	// before.
	DrainAway DrainStage = "away"
	// DrainClosed: nothing is left, or it was forced, and the sessions are closed.
	DrainClosed DrainStage = "closed"
)

// Valid reports whether s is one of the stages.
func (s DrainStage) Valid() bool {
	return s == DrainServing || s == DrainMoving || s == DrainAway || s == DrainClosed
}

// Drain says how far a node has got in leaving, and why not further.
type Drain struct {
	Stage DrainStage
	// Since is when it was asked for, Until when DrainMoving ends.
	Since, Until time.Time
	// Force closes the sessions though workloads are still here.
	Force bool
	// Workloads are those of this node, Sessions those not closed yet.
	Workloads, Sessions int
	// Problem is what could not be done so far.
	Problem string
}

// Done reports whether nothing more happens by itself, as long as the workloads
// stay.
func (d Drain) Done() bool {
	switch d.Stage {
	case DrainServing:
		return true
	case DrainAway:
		return d.Workloads > 0 && !d.Force
	case DrainClosed:
		return d.Sessions == 0
	}
	return false
}

// String says it in words, for an operator.
func (d Drain) String() string {
	switch d.Stage {
	case DrainServing:
		return "not drained"
	case DrainMoving:
		return "services and transit of this node are announced as the last choice (GRACEFUL_SHUTDOWN); next they are withdrawn"
	case DrainAway:
		if d.Workloads == 0 || d.Force {
			return "services and transit are withdrawn; next the sessions are closed"
		}
		return fmt.Sprintf("services and transit are withdrawn; %s still here, their routes kept; --force withdraws them", workloads(d.Workloads))
	}
	if d.Workloads > 0 {
		return fmt.Sprintf("drained, sessions closed; %s still here, their routes withdrawn", workloads(d.Workloads))
	}
	return "drained, sessions closed"
}

func workloads(n int) string {
	if n == 1 {
		return "1 workload"
	}
	return fmt.Sprintf("%d workloads", n)
}

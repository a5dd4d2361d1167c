package node

import (
	"errors"
	"strings"
	"testing"
	"time"

	"caracal.dev/caracal"
	"caracal.dev/caracal/node/api"
)

func TestJudgeReady(t *testing.T) {
	snap := caracal.NewSnapshot("a")
	snap.Synced = true
	snap.Nodes = snap.Nodes.Put("a", caracal.Node{Name: "a"})
	away := *snap
	away.Incomplete = map[string]string{"BGPPeer": "the API does not answer"}
	never := *caracal.NewSnapshot("a")
	never.Nodes = snap.Nodes
	running := &speakerState{started: time.Now()}
	for name, c := range map[string]struct {
		snap      *caracal.Snapshot
		speaker   *speakerState
		converged bool
		routes    error
		alive     bool
		want      string // words of the reason; empty: ready
	}{
		"all is well":               {snap, running, true, nil, true, ""},
		"the API is away":           {&away, running, true, nil, true, ""},
		"nothing was ever read":     {&never, running, true, nil, true, "has not been read yet"},
		"BGP does not listen":       {snap, &speakerState{}, false, nil, false, "BGP has not started"},
		"not converged":             {snap, running, false, nil, true, "waiting for End-of-RIB"},
		"no session is up":          {snap, running, true, nil, false, "none of 2 BGP sessions"},
		"routes cannot be written":  {snap, running, true, errors.New("netlink: no buffer space"), true, "no buffer space"},
		"the node itself is not in": {caracal.NewSnapshot("a"), running, true, nil, true, `node "a" is not in the configuration`},
	} {
		st := api.Status{Synced: synced(c.snap), Converged: api.Fact{Holds: c.converged, Reason: "waiting for End-of-RIB"}, Counts: api.Counts{Neighbors: 2}}
		judgeReady(&st, c.speaker, c.snap, c.routes, c.alive)
		if st.Ready.Holds != (c.want == "") || !strings.Contains(st.Ready.Reason, c.want) {
			t.Errorf("%s: %+v; want %q", name, st.Ready, c.want)
		}
		if c.want == "has not been read yet" && strings.Count(st.Ready.Reason, c.want) != 1 {
			t.Errorf("%s: said twice: %s", name, st.Ready.Reason)
		}
	}
}

package node

import (
	"context"

	"caracal.dev/caracal/bgp"
)

// Services implements api.Services.
func (a *Agent) Services(context.Context) ([]bgp.ServiceRoute, error) {
	up := a.up.Load()
	if up == nil {
		return nil, a.errStarting()
	}
	return bgp.Services(a.o.Store.Snapshot(), up.bgp.surroundings()), nil
}

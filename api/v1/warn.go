package v1

import "caracal.dev/caracal"

// Warnings implements [Object].
func (o *NodeConfig) Warnings() Errors {
	var w Errors
	if o.Spec.TunnelAddress != "" {
		w = append(w, FieldError{"spec.tunnelAddress", "this version keeps it but makes no tunnels yet"})
	}
	return w
}

// Warnings implements [Object].
func (o *IPPool) Warnings() Errors {
	var w Errors
	if o.Spec.IPIPMode != string(caracal.IPIPNever) {
		w = append(w, FieldError{"spec.ipipMode", "this version makes no tunnels yet: packets travel without one, as with Never"})
	}
	if o.Spec.NATOutgoing {
		w = append(w, FieldError{"spec.natOutgoing", "this version does no NAT yet: packets leave with the pod's address"})
	}
	return w
}

// Warnings implements [Object].
func (o *BGPConfiguration) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *Workload) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *DataplaneConfiguration) Warnings() Errors { return nil }

package v1

// Warnings implements [Object].
func (o *NodeConfig) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *IPPool) Warnings() Errors {
	var w Errors
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

package v1

// Warnings implements [Object].
func (o *NodeConfig) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *IPPool) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *BGPConfiguration) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *Workload) Warnings() Errors { return nil }

// Warnings implements [Object].
func (o *DataplaneConfiguration) Warnings() Errors { return nil }

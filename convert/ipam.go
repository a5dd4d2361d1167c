package convert

import (
	"fmt"
	"time"

	v1 "caracal.dev/caracal/api/v1"
)

// ipam converts the IPAMConfiguration and IPReservations.
func (c *conversion) ipam() {
	for _, d := range c.byKind["IPReservation"] {
		f := c.spec(d)
		o := &v1.IPReservation{}
		o.Name, o.Spec.ReservedCIDRs = d.name, f.strs("reservedCIDRs")
		f.rest()
		if len(o.Spec.ReservedCIDRs) > 0 { // one that reserves nothing is of no effect
			c.add(o)
		}
	}
	for _, d := range c.byKind["IPAMConfiguration"] {
		if d.name != v1.DefaultName {
			c.lose(d.key(), "metadata.name", d.name, "Calico reads the one named default only, so it is without effect; it is left out", "nothing")
			continue
		}
		c.ipamConfiguration(d)
	}
}

func (c *conversion) ipamConfiguration(d *document) {
	f := c.spec(d)
	defer f.rest()
	o := &v1.IPAMConfiguration{}
	o.Name = v1.DefaultName
	s := &o.Spec
	s.StrictAffinity = f.yes("strictAffinity")
	if n := f.number("maxBlocksPerHost"); n != nil {
		s.MaxBlocksPerHost = int(*n)
	}
	if n := f.number("ipCooldownSeconds"); n != nil && *n > 0 {
		s.Cooldown = (time.Duration(min(*n, 1e9)) * time.Second).String()
	}
	f.loseUnless("autoAllocateBlocks", "true", "a node claims blocks in mode blocks, and none in mode podCIDR", "write mode: podCIDR, and list the blocks in the NodeConfigs")
	f.loseUnless("kubeVirtVMAddressPersistence", "Disabled", "a virtual machine gets a new address with each new pod", "nothing without KubeVirt; with it, give the virtual machines' networks to another plugin")
	if fmt.Sprint(*s) != fmt.Sprint(v1.IPAMConfigurationSpec{}) {
		c.add(o)
	}
}

// Package torconfig writes the other side of the cable: what a switch, or any
// other router that our nodes peer with, must be configured with to match what
// the nodes are configured with.
//
// [Plan] turns the Snapshots of some nodes into a [Config], which says the same
// in the words of no vendor; [Config.Render] writes it for FRR, BIRD 2 or Arista
// EOS. Both are pure. A secret is never in the output: [Placeholder] stands where
// the operator puts it.
package torconfig

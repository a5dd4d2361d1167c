// Package convert reads a cluster as Calico or kube-router has it configured and
// says the same in our own resources. It is pure: documents go in; objects, and what
// could not be said, come out.
//
// It rests on three rules. What is carried means what it meant: a default of the
// other program that differs from ours is written out. What narrows an object (a
// selector, a condition of a rule) and cannot be carried takes the object or the rule
// with it, for the rest would hold for more than it was written for. And nothing
// is left out in silence: each field that has an effect and was not carried is a
// [Loss], each policy a [Exposure].
package convert

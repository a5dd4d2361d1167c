// Package policy holds room felix against the words of the Kubernetes API. A
// table of cases names, for each, the sentence of networking.k8s.io/v1 that it is
// about; an evaluator written from those sentences, which shares nothing with
// felix, says what every pod may send to every other; and namespaces wired as
// nodes and pods are prove, with connections, that the kernel does just that.
package policy

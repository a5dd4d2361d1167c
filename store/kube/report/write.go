package report

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store/kube/apiserver"
)

// writer is the API as a Reporter sees it.
type writer interface {
	status(ctx context.Context, s v1.NodeStatus) error
	// networkIsUp reports whether the condition had to be written.
	networkIsUp(ctx context.Context, now time.Time) (wrote bool, err error)
	event(ctx context.Context, n Notice, now time.Time) error
}

const (
	group       = "caracal.dev"
	manager     = "caracald"
	upReason    = "CaracalIsUp"
	eventsSpace = metav1.NamespaceDefault // of objects without a namespace, as everywhere
)

func ownResource(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: plural}
}

// apiWriter is the API itself.
type apiWriter struct {
	client *apiserver.Client
	node   string
}

// status replaces the status as a whole: what a patch of single fields leaves out
// would stay.
func (w *apiWriter) status(ctx context.Context, s v1.NodeStatus) error {
	patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/status", "value": s}})
	if err != nil {
		return fmt.Errorf("report: write %s %s: %w", v1.KindCaracalNodeStatus, w.node, err)
	}
	r := w.client.Own.Resource(ownResource("caracalnodestatuses"))
	put := func() error {
		_, err := r.Patch(ctx, w.node, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
		return err
	}
	err = put()
	if errors.IsNotFound(err) {
		if err = w.create(ctx); err == nil {
			err = put()
		}
	}
	if err != nil {
		return fmt.Errorf("report: write %s %s: %w", v1.KindCaracalNodeStatus, w.node, err)
	}
	return nil
}

// create makes the object, which goes with its Node.
func (w *apiWriter) create(ctx context.Context) error {
	n, err := w.readNode(ctx)
	if err != nil {
		return err
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/v1", "kind": v1.KindCaracalNodeStatus,
		"metadata": map[string]any{"name": w.node, "ownerReferences": []any{map[string]any{
			"apiVersion": "v1", "kind": "Node", "name": n.Name, "uid": string(n.UID),
		}}},
	}}
	_, err = w.client.Own.Resource(ownResource("caracalnodestatuses")).Create(ctx, o, metav1.CreateOptions{FieldManager: manager})
	if errors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// readNode reads the Node, from the API server's memory.
func (w *apiWriter) readNode(ctx context.Context) (*corev1.Node, error) {
	n, err := w.client.Core.CoreV1().Nodes().Get(ctx, w.node, metav1.GetOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("read Node %s: %w", w.node, err)
	}
	return n, nil
}

func (w *apiWriter) networkIsUp(ctx context.Context, now time.Time) (bool, error) {
	n, err := w.readNode(ctx)
	if err != nil {
		return false, fmt.Errorf("report: %w", err)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable && c.Status == corev1.ConditionFalse {
			return false, nil
		}
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NodeCondition{{
		Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, LastHeartbeatTime: at, LastTransitionTime: at,
		Reason: upReason, Message: "Caracal routes and enforces policy on this node",
	}}}})
	if err == nil {
		_, err = w.client.Core.CoreV1().Nodes().Patch(ctx, w.node, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: manager}, "status")
	}
	if err != nil {
		return false, fmt.Errorf("report: write condition %s of Node %s: %w", corev1.NodeNetworkUnavailable, w.node, err)
	}
	return true, nil
}

// forbidden reports whether one of the errors is for want of a right.
func forbidden(err error) bool {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return slices.ContainsFunc(list.Unwrap(), forbidden)
	}
	return errors.IsForbidden(err)
}

// maxMessage is how long the message of an Event may be, in bytes.
const maxMessage = 1024

// event writes an Event under a name that depends on what it is about, so that it is
// one whoever tells of it, and however often.
func (w *apiWriter) event(ctx context.Context, n Notice, now time.Time) error {
	ref, err := w.regarding(ctx, n)
	if err != nil {
		return fmt.Errorf("report: write Event %s: %w", n.Reason, err)
	}
	at := metav1.NewTime(now.Truncate(time.Second))
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: ref.Namespace, Name: eventName(ref.Name, n.hash(w.node))},
		InvolvedObject: ref, Reason: n.Reason, Message: strings.ToValidUTF8(n.Message[:min(len(n.Message), maxMessage)], ""), Type: corev1.EventTypeWarning,
		Source: corev1.EventSource{Component: "caracal", Host: w.node}, FirstTimestamp: at, LastTimestamp: at, Count: 1,
	}
	if e.Namespace == "" {
		e.Namespace = eventsSpace
	}
	events := w.client.Core.CoreV1().Events(e.Namespace)
	_, err = events.Create(ctx, e, metav1.CreateOptions{FieldManager: manager})
	if errors.IsAlreadyExists(err) {
		err = nil
		if !n.Everywhere {
			_, err = events.Patch(ctx, e.Name, types.StrategicMergePatchType, eventPatch(at, e.Message), metav1.PatchOptions{FieldManager: manager})
		}
	}
	if err != nil && !ends(err) {
		return fmt.Errorf("report: write Event %s of %s %s: %w", n.Reason, ref.Kind, ref.Name, err)
	}
	return nil
}

// ends reports whether an Event is refused because its namespace is being deleted, or
// is gone: nobody is left to be told, and no right is missing.
func ends(err error) bool {
	return errors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || errors.IsNotFound(err)
}

// eventName is the name of an Event about an object: a DNS-1123 subdomain, of which
// each part ends with a letter or digit, also where a long name is cut.
func eventName(object, hash string) string {
	return strings.TrimRight(object[:min(len(object), 200)], "-.") + "." + hash
}

// eventPatch says that an Event happened again.
func eventPatch(at metav1.Time, message string) []byte {
	text, _ := json.Marshal(map[string]any{"lastTimestamp": at, "message": message}) // has no unencodable value
	return text
}

// regarding names the object that a notice is about. Its UID, by which "kubectl
// describe" finds the Event, is left out if the object cannot be read.
func (w *apiWriter) regarding(ctx context.Context, n Notice) (corev1.ObjectReference, error) {
	gvr, ok := readable()[n.Kind]
	if n.Kind == "" || n.Name == "" || !ok {
		node, err := w.readNode(ctx)
		if err != nil {
			return corev1.ObjectReference{}, err
		}
		return corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: w.node, UID: node.UID}, nil
	}
	space, name, found := strings.Cut(n.Name, "/")
	if !found {
		space, name = "", n.Name
	}
	ref := corev1.ObjectReference{APIVersion: gvr.GroupVersion().String(), Kind: n.Kind, Namespace: space, Name: name}
	r := w.client.Own.Resource(gvr)
	var o *unstructured.Unstructured
	var err error
	if space != "" {
		o, err = r.Namespace(space).Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	} else {
		o, err = r.Get(ctx, name, metav1.GetOptions{ResourceVersion: "0"})
	}
	if err == nil {
		ref.UID = o.GetUID()
	}
	return ref, nil
}

// readable are the kinds that Events can be about and that a daemon may read.
func readable() map[string]schema.GroupVersionResource {
	out := map[string]schema.GroupVersionResource{
		"NetworkPolicy": {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		"Service":       {Version: "v1", Resource: "services"},
		"Pod":           {Version: "v1", Resource: "pods"},
		"Namespace":     {Version: "v1", Resource: "namespaces"},
	}
	for kind, plural := range map[string]string{
		"BGPConfiguration": "bgpconfigurations", "BGPPeer": "bgppeers", "BGPFilter": "bgpfilters", "IPPool": "ippools",
		"NodeConfig": "nodeconfigs", "IPAMConfiguration": "ipamconfigurations", "DataplaneConfiguration": "dataplaneconfigurations",
		"IPReservation": "ipreservations",
	} {
		out[kind] = ownResource(plural)
	}
	return out
}

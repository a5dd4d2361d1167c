package report

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
)

// TestEventPatch repeats an Event whose message quotes what somebody wrote: the API
// takes JSON, which has other escapes than Go.
func TestEventPatch(t *testing.T) {
	message := "a\abell, \x7f, \U000e0001 and \"quotes\""
	at := metav1.NewTime(time.Unix(1_700_000_000, 0))
	var got struct{ LastTimestamp, Message string }
	if err := json.Unmarshal(eventPatch(at, message), &got); err != nil || got.Message != message || got.LastTimestamp != "2023-11-14T22:13:20Z" {
		t.Errorf("%+v %v", got, err)
	}
}

// TestEventName names Events about objects whose names anybody may choose. One that the
// API does not take is tried again and again, and everything else with it more slowly.
func TestEventName(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("a", 253), strings.Repeat("a", 199) + "-" + strings.Repeat("b", 50), strings.Repeat("a", 199) + ".b", strings.Repeat("a", 198) + "--b"} {
		got := eventName(name, Notice{Reason: ReasonRejected}.hash("node"))
		if why := validation.IsDNS1123Subdomain(got); len(why) > 0 {
			t.Errorf("%s: %v", got, why)
		}
	}
}

// TestEventOfNamespaceThatEnds: it is no right that is missing.
func TestEventOfNamespaceThatEnds(t *testing.T) {
	events := schema.GroupResource{Resource: "events"}
	terminating := apierrors.NewForbidden(events, "x", nil)
	if ends(terminating) {
		t.Error("a right that is missing must be said")
	}
	terminating.ErrStatus.Details.Causes = append(terminating.ErrStatus.Details.Causes, metav1.StatusCause{Type: corev1.NamespaceTerminatingCause})
	if !ends(terminating) || !ends(apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "x")) {
		t.Error("nobody is left to be told")
	}
}

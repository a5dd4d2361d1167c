package report

import (
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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

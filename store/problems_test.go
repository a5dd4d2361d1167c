package store

import (
	"reflect"
	"testing"
	"time"

	"caracal.dev/caracal"
)

func TestDated(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(s, 0) }
	p := func(severity caracal.Severity, message string, since time.Time) caracal.Problem {
		return caracal.Problem{Severity: severity, Message: message, Since: since}
	}
	none := time.Time{}
	prev := []caracal.Problem{p(caracal.Warning, "old", at(1)), p(caracal.Warning, "gone", at(2))}
	list := []caracal.Problem{
		p(caracal.Warning, "says when", at(5)), p(caracal.Warning, "old", none), p(caracal.Warning, "old", at(7)),
		p(caracal.Rejected, "new", none),
	}
	want := []caracal.Problem{
		p(caracal.Rejected, "new", at(9)), p(caracal.Warning, "old", at(1)), p(caracal.Warning, "says when", at(5)),
	}
	if got := Dated(prev, list, at(9)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

package version

import (
	"runtime/debug"
	"testing"
)

func TestDescribe(t *testing.T) {
	vcs := func(rev, modified string) *debug.BuildInfo {
		return &debug.BuildInfo{Settings: []debug.BuildSetting{
			{Key: "vcs.revision", Value: rev}, {Key: "vcs.modified", Value: modified}}}
	}
	for _, tc := range []struct {
		release string
		info    *debug.BuildInfo
		want    string
	}{
		{"", nil, "devel"},
		{"v0.1.0", nil, "v0.1.0"},
		{"v0.1.0", &debug.BuildInfo{}, "v0.1.0"},
		{"v0.1.0", vcs("0123456789abcdef", "false"), "v0.1.0 (0123456789ab)"},
		{"", vcs("01234567", "true"), "devel (01234567, modified)"},
	} {
		if got := describe(tc.release, tc.info); got != tc.want {
			t.Errorf("describe(%q) = %q, want %q", tc.release, got, tc.want)
		}
	}
	if String() == "" {
		t.Error("String is empty")
	}
}

package apiserver

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/klog/v2"
)

// TestLogTo has klog say what client-go says: every line is slog's, errors are
// warnings, and the rest is there for debugging only.
func TestLogTo(t *testing.T) {
	t.Cleanup(klog.ClearLogger)
	for _, c := range []struct {
		level slog.Level
		want  []string
	}{
		{slog.LevelInfo, []string{`level=WARN msg="lease lost"`, `level=WARN msg="no answer" err=EOF lease=x`, `level=WARN msg="Unhandled Error"`}},
		{slog.LevelDebug, []string{`level=DEBUG msg="I lead"`, `level=DEBUG msg=elected lease=x`, `level=DEBUG msg="field is deprecated"`,
			`level=WARN msg="lease lost"`, `level=WARN msg="no answer" err=EOF lease=x`, `level=WARN msg="Unhandled Error"`}},
		{slog.LevelError, nil},
	} {
		var out bytes.Buffer
		LogTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: c.level})))
		klog.Infof("I %s", "lead")
		klog.InfoS("elected", "lease", "x")
		klog.Background().V(4).Info("never")
		klog.Warning("field is deprecated")
		klog.Error("lease lost")
		klog.ErrorS(errors.New("EOF"), "no answer", "lease", "x")
		runtime.HandleError(errors.New("broken"))
		klog.Flush()
		lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if out.Len() == 0 {
			lines = nil
		}
		if len(lines) != len(c.want) {
			t.Errorf("%v: %d lines, want %d:\n%s", c.level, len(lines), len(c.want), out.String())
			continue
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, "time=") || !strings.Contains(line, c.want[i]) || !strings.HasSuffix(line, "from=client-go") {
				t.Errorf("%v: %s\nwant %s", c.level, line, c.want[i])
			}
		}
	}
}

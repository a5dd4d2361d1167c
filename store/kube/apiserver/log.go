package apiserver

import (
	"context"
	"log/slog"

	"k8s.io/klog/v2"
)

// LogTo has what client-go says of its own accord go to log. It is for the start of a
// program and counts for all of it, since client-go says it through klog, which is one
// for the process and writes to the standard error in a form of its own.
//
// What fails there is tried again, and what that means for us is said by ourselves: so
// its errors become warnings, and all else is for debugging.
func LogTo(log *slog.Logger) {
	klog.SetSlogLogger(slog.New(hushed{log.Handler()}))
}

// hushed is a slog.Handler that takes what it gets less seriously.
type hushed struct{ slog.Handler }

func hush(l slog.Level) slog.Level {
	if l >= slog.LevelError {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements slog.Handler. What is below Info is klog's verbosity, which nobody
// asks for.
func (h hushed) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelInfo && h.Handler.Enabled(ctx, hush(l))
}

// Handle implements slog.Handler. Of errors nobody asks first whether they are wanted.
func (h hushed) Handle(ctx context.Context, r slog.Record) error {
	if !h.Enabled(ctx, r.Level) {
		return nil
	}
	r.Level = hush(r.Level)
	r.AddAttrs(slog.String("from", "client-go"))
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h hushed) WithAttrs(attrs []slog.Attr) slog.Handler { return hushed{h.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (h hushed) WithGroup(name string) slog.Handler { return hushed{h.Handler.WithGroup(name)} }

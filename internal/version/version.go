// Package version says which build this is.
package version

import "runtime/debug"

// Version is the release, set by the linker; empty in a build without:
// -ldflags "-X caracal.dev/caracal/internal/version.Version=v0.1.0".
var Version string

// String returns the release, with the commit where the build recorded one:
// "v0.1.0 (1a2b3c4d5e6f)", or "devel" for a build without a release.
func String() string {
	info, _ := debug.ReadBuildInfo()
	return describe(Version, info)
}

// describe is String on given facts; info may be nil.
func describe(release string, info *debug.BuildInfo) string {
	if release == "" {
		release = "devel"
	}
	if info == nil {
		return release
	}
	var commit string
	var dirty bool
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			commit = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if commit == "" {
		return release
	}
	if len(commit) > 12 {
		commit = commit[:12]
	}
	if dirty {
		commit += ", modified"
	}
	return release + " (" + commit + ")"
}

package node

import (
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"caracal.dev/caracal"
	"caracal.dev/caracal/bgp"
)

func TestMakeRoom(t *testing.T) {
	with := bgp.Neighbor{Password: caracal.Password{From: "local/secrets/a/b", Secret: caracal.NewSecret("word")}}
	many := make([]bgp.Neighbor, 1100)
	for i := range many {
		many[i] = with
	}
	for _, c := range []struct {
		what      string
		neighbors []bgp.Neighbor
		is        string
		set       bool
		fail      error
		wrote     bool
		log       string
	}{
		{"no passwords", make([]bgp.Neighbor, 2000), "1", true, nil, false, ""},
		{"room enough", []bgp.Neighbor{with}, "131072", true, nil, false, ""},
		{"too little", many, "20480", true, nil, true, "kernel setting written"},
		{"too little, not ours to set", many, "20480", false, nil, false, "may have no room"},
		{"too little, refused", many, "20480", true, errors.New("denied"), false, "denied"},
		{"no such setting", many, "", true, nil, false, ""},
	} {
		var log strings.Builder
		var value string
		read := func(key string) (string, bool) { return c.is, key == optmemKey && c.is != "" }
		write := func(_, v string) error { value = v; return c.fail }
		wrote := makeRoom(c.neighbors, c.set, slog.New(slog.NewTextHandler(&log, nil)), read, write)
		if wrote != c.wrote || !strings.Contains(log.String(), c.log) || c.log == "" && log.Len() > 0 {
			t.Errorf("%s: wrote %v, log %q", c.what, wrote, &log)
		}
		if n, _ := strconv.Atoi(value); wrote && n < 1100*136 {
			t.Errorf("%s: %s octets are too few", c.what, value)
		}
		if strings.Contains(log.String(), "word=") || strings.Contains(log.String(), `"word"`) {
			t.Errorf("%s: the log shows a password: %q", c.what, &log)
		}
	}
}

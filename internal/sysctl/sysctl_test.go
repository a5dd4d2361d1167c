package sysctl

import "testing"

func TestPath(t *testing.T) {
	const key = "net/ipv4/conf/eth0.7/rp_filter"
	for dir, want := range map[string]string{
		"":               "/proc/sys/" + key,
		"/host/proc/sys": "/host/proc/sys/" + key,
	} {
		t.Setenv(DirVariable, dir)
		if is := Path(key); is != want {
			t.Errorf("with %q: %s, want %s", dir, is, want)
		}
	}
}

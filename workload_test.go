package caracal

import "testing"

func TestHostInterface(t *testing.T) {
	a := HostInterface("0123456789abcdef", "eth0")
	if a != HostInterface("0123456789abcdef", "eth0") {
		t.Fatal("the name is not stable")
	}
	for _, other := range [][2]string{{"0123456789abcdee", "eth0"}, {"0123456789abcdef", "eth1"}} {
		if HostInterface(other[0], other[1]) == a {
			t.Errorf("%v has the name of another", other)
		}
	}
	if len(a) > 15 || !IsHostInterface(a) {
		t.Errorf("%q is no name of an interface of ours", a)
	}
	for _, name := range []string{"", "eth0", "car", "card", "car0123456789a", a + "0", "caR" + a[3:], "car0123456789G"} {
		if want := name == "car0123456789a"; IsHostInterface(name) != want {
			t.Errorf("IsHostInterface(%q) is %t", name, !want)
		}
	}
}

package soak

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"caracal.dev/caracal/bench/stand"
	pb "caracal.dev/caracal/proto"
)

// daemonViews reads what the daemon and its kernel have.
type daemonViews struct {
	show pb.ShowClient
	nl   *netlink.Handle
	web  *http.Client
	pid  int
}

func newViews(t *testing.T, w *stand.World, d *stand.Daemon, dir string) *daemonViews {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///caracald", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, stand.Socket))
		}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ns, err := netns.GetFromName(w.Router)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nl.Close)
	web := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return w.DialRouter(ctx, fmt.Sprintf("127.0.0.1:%d", stand.HTTPPort))
	}}}
	return &daemonViews{pb.NewShowClient(conn), nl, web, d.PID()}
}

// mirror returns what the daemon shows, as [model.want] does.
func (v *daemonViews) mirror(ctx context.Context) (map[string]string, error) {
	stream, err := v.show.ListRoutes(ctx, &pb.RoutesRequest{Table: "adj-rib-in"})
	if err != nil {
		return nil, err
	}
	got := map[string]string{}
	for {
		list, err := stream.Recv()
		if err == io.EOF {
			return got, nil
		}
		if err != nil {
			return nil, err
		}
		for _, p := range list.Paths {
			a := p.Attributes
			k, chosen := key(p.Neighbor, p.Prefix), p.Best || p.Multipath
			if _, twice := got[k]; twice {
				return nil, fmt.Errorf("%s is listed twice", k)
			}
			got[k] = show(a.NextHop, a.AsPath, a.LocalPref, chosen, p.Refused, p.Stale)
			if chosen != p.Installed {
				got[k] += ", not installed: " + p.Why
			}
		}
	}
}

// kernel returns the daemon's routes to the peers' prefixes.
func (v *daemonViews) kernel() (map[netip.Prefix]netip.Addr, error) {
	routes, err := v.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: 67}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return nil, err
	}
	got := map[netip.Prefix]netip.Addr{}
	for _, r := range routes {
		dst, err := netip.ParsePrefix(r.Dst.String())
		if err != nil {
			return nil, err
		}
		gw, _ := netip.AddrFromSlice(r.Gw)
		if _, twice := got[dst]; twice {
			return nil, fmt.Errorf("the kernel has two routes to %s", dst)
		}
		got[dst] = gw.Unmap()
	}
	return got, nil
}

// usage is what the daemon uses at one moment.
type usage struct {
	resident, live          int // bytes: of the process, and of what its heap holds
	goroutines, descriptors int
}

func (u usage) String() string {
	return fmt.Sprintf("%.1f MB resident, %.1f MB live, %d goroutines, %d descriptors",
		float64(u.resident)/1e6, float64(u.live)/1e6, u.goroutines, u.descriptors)
}

func (v *daemonViews) usage() (u usage, err error) {
	if u.resident, err = stand.RSS(v.pid); err != nil {
		return u, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", v.pid))
	if err != nil {
		return u, err
	}
	u.descriptors = len(fds)
	resp, err := v.web.Get("http://daemon/metrics")
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	metrics := map[string]int{}
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		name, value, _ := strings.Cut(s.Text(), " ")
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			metrics[name] = int(f)
		}
	}
	u.goroutines, u.live = metrics["go_goroutines"], metrics["go_gc_heap_live_bytes"]
	if u.goroutines == 0 {
		return u, fmt.Errorf("/metrics (%s) says nothing of goroutines", resp.Status)
	}
	return u, nil
}

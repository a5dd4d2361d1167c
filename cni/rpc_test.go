package cni

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pb "caracal.dev/caracal/proto"
)

// What is encoded by hand is what the generated code reads, field by field.
func TestMessagesSent(t *testing.T) {
	id, pbID := endpointID{"c1", "eth0", "net"}, &pb.EndpointID{ContainerId: "c1", Ifname: "eth0", Network: "net"}
	add := addRequest{
		ID: id, NetNS: "/n", Kind: "cni", Namespace: "ns", Name: "pod", UID: "u", Labels: map[string]string{"a": "b", "c": ""},
		Addresses: []string{"10.0.0.1", "fd00::1"}, MAC: "02:00:00:00:00:01", Pools: []string{"p", "q"}, WantIPv4: true, WantIPv6: true, MTU: 1400,
	}
	for _, tc := range []struct {
		sent      []byte
		got, want proto.Message
	}{
		{id.marshal(), &pb.EndpointID{}, pbID},
		{endpointID{}.marshal(), &pb.EndpointID{}, &pb.EndpointID{}},
		{add.marshal(), &pb.AddEndpointRequest{}, &pb.AddEndpointRequest{
			Id: pbID, Netns: "/n", Kind: "cni", Namespace: "ns", Name: "pod", Uid: "u", Labels: map[string]string{"a": "b", "c": ""},
			Addresses: []string{"10.0.0.1", "fd00::1"}, Mac: "02:00:00:00:00:01", Pools: []string{"p", "q"}, WantIpv4: true, WantIpv6: true, Mtu: 1400,
		}},
		{addRequest{}.marshal(), &pb.AddEndpointRequest{}, &pb.AddEndpointRequest{Id: &pb.EndpointID{}}},
		{collectRequest{"net", []endpointID{id, {}}}.marshal(), &pb.CollectRequest{}, &pb.CollectRequest{Network: "net", Keep: []*pb.EndpointID{pbID, {}}}},
	} {
		if err := proto.Unmarshal(tc.sent, tc.got); err != nil || !proto.Equal(tc.got, tc.want) {
			t.Errorf("%v: %v, want %v", err, tc.got, tc.want)
		}
	}
	// A field that is added to the request must be thought of here.
	if n := (&pb.AddEndpointRequest{}).ProtoReflect().Descriptor().Fields().Len(); n != reflect.TypeFor[addRequest]().NumField() {
		t.Errorf("AddEndpointRequest has %d fields, addRequest %d", n, reflect.TypeFor[addRequest]().NumField())
	}
}

func TestMessagesReceived(t *testing.T) {
	w := &pb.Wiring{
		HostInterface: "car0", HostMac: "ee:ee:ee:ee:ee:ee", Addresses: []string{"10.0.0.1/32", "fd00::1/128"}, Gateways: []string{"169.254.1.1"},
		Mtu: 1400, Mac: "02:00:00:00:00:01", Node: "a", PoolOf: []string{"p", ""},
	}
	want := Wiring{"car0", "ee:ee:ee:ee:ee:ee", w.Addresses, w.Gateways, 1400, "02:00:00:00:00:01"}
	for _, tc := range []struct {
		sent proto.Message
		got  interface{ unmarshal([]byte) error }
		want any
	}{
		{w, &Wiring{}, &want},
		{&pb.EndpointID{ContainerId: "c", Ifname: "i", Network: "n"}, &endpointID{}, &endpointID{"c", "i", "n"}},
		{&pb.EndpointCheck{Problems: []string{"a", "b"}, Wiring: w}, &checked{}, &checked{[]string{"a", "b"}, &want}},
		{&pb.EndpointCheck{}, &checked{}, &checked{}},
		{&pb.CollectReply{Removed: []*pb.EndpointID{{ContainerId: "c"}}}, &collected{}, &collected{[]endpointID{{ContainerID: "c"}}}},
		{&pb.EndpointStatus{Ready: true, Reason: "r"}, &readiness{}, &readiness{true, "r"}},
	} {
		b, err := proto.Marshal(tc.sent)
		if err != nil {
			t.Fatal(err)
		}
		if err := tc.got.unmarshal(b); err != nil || !reflect.DeepEqual(tc.got, tc.want) {
			t.Errorf("%v: %+v, want %+v", err, tc.got, tc.want)
		}
		if len(b) > 0 && tc.got.unmarshal(b[:len(b)-1]) == nil {
			t.Errorf("%T: a torn message was read", tc.got)
		}
	}
	for name, method := range map[string]string{
		"AddEndpoint": methodAdd, "ReadyEndpoint": methodReady, "RemoveEndpoint": methodRemove, "CheckEndpoint": methodCheck,
		"CollectEndpoints": methodCollect, "GetEndpointStatus": methodStatus,
	} {
		if want := "/" + pb.Endpoints_ServiceDesc.ServiceName + "/" + name; method != want {
			t.Errorf("%s, want %s", method, want)
		}
	}
}

// A real gRPC server: messages larger than any window, many calls on a
// connection, and errors with words of their own.
func TestCalls(t *testing.T) {
	f := newFakeDaemon(t, socketIn(t))
	d, err := dial(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	long := strings.Repeat("x", 4000)
	req := collectRequest{Network: "net"}
	for i := range 300 {
		id := endpointID{fmt.Sprint(i, long), "eth0", "net"}
		f.endpoints[fmt.Sprint(id.ContainerID, "/eth0")] = &pb.AddEndpointRequest{Id: &pb.EndpointID{ContainerId: id.ContainerID, Ifname: "eth0", Network: "net"}}
		req.Keep = append(req.Keep, endpointID{"keep-" + id.ContainerID, "eth0", "net"})
	}
	var reply collected
	if err := d.ask(ctx, methodCollect, req.marshal(), &reply); err != nil || len(reply.removed) != 300 || len(f.collected[0].Keep) != 300 {
		t.Fatalf("%v: %d removed", err, len(reply.removed))
	}
	for range 1000 {
		var s readiness
		if err := d.ask(ctx, methodStatus, nil, &s); err != nil || !s.ready {
			t.Fatal(err)
		}
	}
	const words = "100% of pool “ü” is in use;\nadd one"
	f.on(func(context.Context, string) error { return status.Error(codes.ResourceExhausted, words) })
	for range 3 {
		var told *callError
		if err := d.ask(ctx, methodStatus, nil, nil); !errors.As(err, &told) || told.code != codes.ResourceExhausted || told.msg != words {
			t.Errorf("%#v", err)
		}
	}
	if err := d.ask(ctx, "/caracal.v1.Endpoints/Nothing", nil, nil); !strings.Contains(fmt.Sprint(err), "Nothing") {
		t.Errorf("a method that there is not: %v", err)
	}
}

func TestCallEndsInTime(t *testing.T) {
	f := newFakeDaemon(t, socketIn(t))
	f.on(func(ctx context.Context, _ string) error {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > time.Second {
			t.Errorf("the daemon was not told the deadline: %v %t", deadline, ok)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	d, err := dial(f.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := d.ask(ctx, methodStatus, nil, nil); !down(err) {
		t.Errorf("%#v", err)
	}
}

// Who listens is something else.
func TestCallToAStranger(t *testing.T) {
	for name, says := range map[string]string{
		"silent":    "",
		"HTTP/1":    "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + strings.Repeat("no ", 100),
		"zeros":     strings.Repeat("\x00", 100),
		"big frame": "\xff\xff\xff\x00\x00\x00\x00\x00\x01",
	} {
		here, there := net.Pipe()
		go func() {
			go io.Copy(io.Discard, there)
			io.WriteString(there, says)
			there.Close()
		}()
		c := newChannel(here)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if _, err := c.call(ctx, methodStatus, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		cancel()
		c.close()
	}
}

// Nothing that a server says makes the plugin panic or hang.
func FuzzChannel(f *testing.F) {
	settings := "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x01\x00\x00"
	f.Add([]byte(settings))
	f.Add([]byte(settings + "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"))
	f.Add([]byte("\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"))
	f.Add([]byte("\x00\x00\x05\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Add([]byte("\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, says []byte) {
		c := newChannel(&said{r: bytes.NewReader(says)})
		for range 3 {
			b, err := c.call(context.Background(), methodStatus, make([]byte, 70000))
			if err != nil {
				return
			}
			var s checked
			_ = s.unmarshal(b)
		}
	})
}

// said is a connection on which one end says something and hears all.
type said struct {
	net.Conn
	r io.Reader
}

func (s *said) Read(b []byte) (int, error)  { return s.r.Read(b) }
func (s *said) Write(b []byte) (int, error) { return len(b), nil }
func (s *said) SetDeadline(time.Time) error { return nil }
func (s *said) Close() error                { return nil }

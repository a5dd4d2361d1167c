package cni

import "google.golang.org/protobuf/encoding/protowire"

// The messages of proto/endpoint.proto, as far as the plugin needs them, encoded
// by hand: the generated ones bring package grpc with them (see rpc.go). A test
// holds both against each other.

// endpointID is EndpointID.
type endpointID struct{ ContainerID, IfName, Network string }

// addRequest is AddEndpointRequest.
type addRequest struct {
	ID                   endpointID
	NetNS, Kind          string
	Namespace, Name, UID string
	Labels               map[string]string
	Addresses            []string
	MAC                  string
	Pools                []string
	WantIPv4, WantIPv6   bool
	MTU                  int
}

// Wiring is how an endpoint is to be connected, in the daemon's words: the
// message of that name in proto/endpoint.proto, as far as it is about the link.
type Wiring struct {
	HostInterface, HostMAC string
	Addresses              []string // as /32 and /128
	Gateways               []string
	MTU                    int    // bytes
	MAC                    string // empty: any
}

type collectRequest struct {
	Network string
	Keep    []endpointID
}

// The methods of Endpoints.
const (
	methodAdd     = "/caracal.v1.Endpoints/AddEndpoint"
	methodReady   = "/caracal.v1.Endpoints/ReadyEndpoint"
	methodRemove  = "/caracal.v1.Endpoints/RemoveEndpoint"
	methodCheck   = "/caracal.v1.Endpoints/CheckEndpoint"
	methodCollect = "/caracal.v1.Endpoints/CollectEndpoints"
	methodStatus  = "/caracal.v1.Endpoints/GetEndpointStatus"
)

func appendString(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b // the zero value is not sent (proto3)
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendStrings(b []byte, field protowire.Number, list []string) []byte {
	for _, s := range list {
		b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
	}
	return b
}

func appendMessage(b []byte, field protowire.Number, m []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), m)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}

func (id endpointID) marshal() []byte {
	b := appendString(nil, 1, id.ContainerID)
	b = appendString(b, 2, id.IfName)
	return appendString(b, 3, id.Network)
}

func (r addRequest) marshal() []byte {
	b := appendMessage(nil, 1, r.ID.marshal())
	for i, s := range []string{r.NetNS, r.Kind, r.Namespace, r.Name, r.UID} {
		b = appendString(b, protowire.Number(2+i), s)
	}
	for key, value := range r.Labels {
		b = appendMessage(b, 7, appendString(appendString(nil, 1, key), 2, value))
	}
	b = appendStrings(b, 8, r.Addresses)
	b = appendString(b, 9, r.MAC)
	b = appendStrings(b, 10, r.Pools)
	b = appendNumber(b, 11, protowire.EncodeBool(r.WantIPv4))
	b = appendNumber(b, 12, protowire.EncodeBool(r.WantIPv6))
	return appendNumber(b, 13, uint64(r.MTU))
}

func (r collectRequest) marshal() []byte {
	b := appendString(nil, 1, r.Network)
	for _, id := range r.Keep {
		b = appendMessage(b, 2, id.marshal())
	}
	return b
}

// fields calls take for each field of a message that is text, a message or a
// number; what it does not know it is to pass over.
func fields(b []byte, take func(field protowire.Number, text []byte, number uint64) error) error {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var text []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			text, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(field, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := take(field, text, number); err != nil {
			return err
		}
	}
	return nil
}

func (w *Wiring) unmarshal(b []byte) error {
	return fields(b, func(field protowire.Number, text []byte, number uint64) error {
		switch field {
		case 1:
			w.HostInterface = string(text)
		case 2:
			w.HostMAC = string(text)
		case 3:
			w.Addresses = append(w.Addresses, string(text))
		case 4:
			w.Gateways = append(w.Gateways, string(text))
		case 5:
			w.MTU = int(uint32(number))
		case 6:
			w.MAC = string(text)
		}
		return nil
	})
}

func (id *endpointID) unmarshal(b []byte) error {
	return fields(b, func(field protowire.Number, text []byte, _ uint64) error {
		switch field {
		case 1:
			id.ContainerID = string(text)
		case 2:
			id.IfName = string(text)
		case 3:
			id.Network = string(text)
		}
		return nil
	})
}

// checked is EndpointCheck; wiring is nil if the daemon gave none.
type checked struct {
	problems []string
	wiring   *Wiring
}

func (c *checked) unmarshal(b []byte) error {
	return fields(b, func(field protowire.Number, text []byte, _ uint64) error {
		switch field {
		case 1:
			c.problems = append(c.problems, string(text))
		case 2:
			c.wiring = &Wiring{}
			return c.wiring.unmarshal(text)
		}
		return nil
	})
}

// collected is CollectReply.
type collected struct{ removed []endpointID }

func (c *collected) unmarshal(b []byte) error {
	return fields(b, func(field protowire.Number, text []byte, _ uint64) error {
		if field != 1 {
			return nil
		}
		var id endpointID
		err := id.unmarshal(text)
		c.removed = append(c.removed, id)
		return err
	})
}

// readiness is EndpointStatus.
type readiness struct {
	ready  bool
	reason string
}

func (r *readiness) unmarshal(b []byte) error {
	return fields(b, func(field protowire.Number, text []byte, number uint64) error {
		switch field {
		case 1:
			r.ready = protowire.DecodeBool(number)
		case 2:
			r.reason = string(text)
		}
		return nil
	})
}

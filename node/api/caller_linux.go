package api

import (
	"context"
	"log/slog"
	"net"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// caller is who is at the other end of a connection, as the kernel knows it.
type caller struct {
	uid uint32
	pid int32 // 0 for one in another PID namespace
	// known is false if the kernel did not tell; then uid is nobody's, though it is 0.
	known bool
}

// AuthType implements [credentials.AuthInfo].
func (caller) AuthType() string { return "unix" }

// attr is the caller in a log line.
func (c caller) attr() slog.Attr { return slog.Group("by", "uid", c.uid, "pid", c.pid) }

// callerOf is the caller of a request; the zero value if it is not known.
func callerOf(ctx context.Context) caller {
	if p, ok := peer.FromContext(ctx); ok {
		if c, ok := p.AuthInfo.(caller); ok {
			return c
		}
	}
	return caller{}
}

// unixCreds adds the caller to each connection. Who may connect is decided by
// the mode of the socket file, so nothing is encrypted or refused here.
type unixCreds struct{}

// ServerHandshake implements [credentials.TransportCredentials].
func (unixCreds) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	cred, err := peerCred(conn)
	if err != nil {
		return conn, caller{}, nil
	}
	return conn, caller{uid: cred.Uid, pid: cred.Pid, known: true}, nil
}

// ClientHandshake implements [credentials.TransportCredentials].
func (unixCreds) ClientHandshake(_ context.Context, _ string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return conn, caller{}, nil
}

// Info implements [credentials.TransportCredentials].
func (unixCreds) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "unix"}
}

// Clone implements [credentials.TransportCredentials].
func (c unixCreds) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements [credentials.TransportCredentials].
func (unixCreds) OverrideServerName(string) error { return nil }

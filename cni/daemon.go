package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"caracal.dev/caracal/proto"
)

// codeRefused is what the plugin's own error code is for what cannot be mended by
// trying again. SPEC.md leaves those from 100 to the plugins.
const codeRefused = 100

// dialTimeout is for a daemon that has its socket but takes no connections.
const dialTimeout = 3 * time.Second

// daemon is a connection to caracald.
type daemon struct {
	proto.EndpointsClient
	conn   *grpc.ClientConn
	socket string
	unused func() // closes the first connection if no call was made
}

// dial connects to the daemon. It does not wait for one that does not run.
func dial(socket string) (*daemon, error) {
	first, err := net.DialTimeout("unix", socket, dialTimeout)
	if err != nil {
		return nil, err
	}
	var taken atomic.Bool
	conn, err := grpc.NewClient("passthrough:///caracald",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDisableServiceConfig(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if taken.CompareAndSwap(false, true) {
				return first, nil
			}
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		first.Close()
		return nil, err
	}
	unused := func() {
		if taken.CompareAndSwap(false, true) {
			first.Close()
		}
	}
	return &daemon{EndpointsClient: proto.NewEndpointsClient(conn), conn: conn, socket: socket, unused: unused}, nil
}

func (d *daemon) close() {
	d.unused()
	d.conn.Close()
}

// absent is the sentence about a daemon that could not be called.
func absent(socket string, err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("caracald does not run on this node (there is no socket %s): start it, as with systemctl start caracald, or correct \"socket\" in the network configuration", socket)
	case errors.Is(err, unix.ECONNREFUSED):
		return fmt.Sprintf("caracald does not run on this node any more (nobody listens on %s): look at journalctl -u caracald, and start it", socket)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("caracal-cni may not use %s (%v): it must run as root", socket, err)
	}
	return fmt.Sprintf("caracald does not answer on %s (%v): look at journalctl -u caracald", socket, err)
}

// down reports whether an error says that the daemon is not there, rather than
// that it refuses. What was asked may have been done all the same.
func down(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return true
	}
	return false
}

// refused makes CNI's error of what the daemon said. What may go away by itself
// is "try again later".
func refused(doing, socket string, err error) *types.Error {
	s := status.Convert(err)
	code := uint(codeRefused)
	advice := ""
	switch s.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Aborted, codes.NotFound:
		code = types.ErrTryAgainLater
	case codes.InvalidArgument:
		code = types.ErrInvalidNetworkConfig
	case codes.Unimplemented:
		advice = " (caracald is older than caracal-cni: update it)"
	case codes.PermissionDenied, codes.Unauthenticated:
		advice = fmt.Sprintf(" (caracal-cni must run as root to change something through %s)", socket)
	}
	return types.NewError(code, fmt.Sprintf("caracal-cni: %s: %s%s", doing, s.Message(), advice), "")
}

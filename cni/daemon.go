package cni

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
)

// codeRefused is what the plugin's own error code is for what cannot be mended by
// trying again. SPEC.md leaves those from 100 to the plugins.
const codeRefused = 100

// dialTimeout is for a daemon that has its socket but takes no connections.
const dialTimeout = 3 * time.Second

// daemon is a connection to caracald.
type daemon struct {
	*channel
	socket string
}

// dial connects to the daemon. It does not wait for one that does not run.
func dial(socket string) (*daemon, error) {
	conn, err := net.DialTimeout("unix", socket, dialTimeout)
	if err != nil {
		return nil, err
	}
	return &daemon{newChannel(conn), socket}, nil
}

// ask calls a method; into is nil for an answer that says nothing. Its errors are
// a *callError.
func (d *daemon) ask(ctx context.Context, method string, request []byte, into interface{ unmarshal([]byte) error }) error {
	b, err := d.call(ctx, method, request)
	if err != nil || into == nil {
		return err
	}
	if err := into.unmarshal(b); err != nil {
		return &callError{codes.Internal, fmt.Sprintf("the answer cannot be read (%v): are caracald and caracal-cni of the same version?", err)}
	}
	return nil
}

// remove has the daemon remove an endpoint. A connection that an earlier call
// lost is made anew.
func (d *daemon) remove(ctx context.Context, id endpointID) error {
	err := d.ask(ctx, methodRemove, id.marshal(), nil)
	if err == nil || !down(err) {
		return err
	}
	again, dialed := dial(d.socket)
	if dialed != nil {
		return err
	}
	defer again.close()
	return again.ask(ctx, methodRemove, id.marshal(), nil)
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
	var c *callError
	if !errors.As(err, &c) {
		return false
	}
	return c.code == codes.Unavailable || c.code == codes.DeadlineExceeded || c.code == codes.Canceled
}

// refused makes CNI's error of what the daemon said. What may go away by itself
// is "try again later".
func refused(doing, socket string, err error) *types.Error {
	code, advice := uint(codeRefused), ""
	var c *callError
	if !errors.As(err, &c) {
		c = &callError{codes.Unknown, err.Error()}
	}
	switch c.code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted, codes.Aborted, codes.NotFound:
		code = types.ErrTryAgainLater
	case codes.InvalidArgument:
		code = types.ErrInvalidNetworkConfig
	case codes.Unimplemented:
		advice = " (caracald is older than caracal-cni: update it)"
	case codes.PermissionDenied, codes.Unauthenticated:
		advice = fmt.Sprintf(" (caracal-cni must run as root to change something through %s)", socket)
	}
	return types.NewError(code, fmt.Sprintf("caracal-cni: %s: %s%s", doing, c.msg, advice), "")
}

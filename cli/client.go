package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "caracal.dev/caracal/proto"
)

// largestAnswer bounds one message: an inventory of very many workloads comes
// as one.
const largestAnswer = 64 << 20

// client is a connection to the daemon, made when it is first used.
type client struct {
	conn    *grpc.ClientConn
	socket  string
	timeout time.Duration
	// refused is why the socket could not be opened last, which gRPC's own errors
	// only have as text.
	refused atomic.Pointer[error]
}

func newClient(socket string, timeout time.Duration) (*client, error) {
	c := &client{socket: socket, timeout: timeout}
	conn, err := grpc.NewClient("passthrough:///caracald",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(c.dial),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(largestAnswer)),
	)
	if err != nil {
		return nil, err
	}
	c.conn = conn
	return c, nil
}

func (c *client) close() { c.conn.Close() }

func (c *client) show() pb.ShowClient           { return pb.NewShowClient(c.conn) }
func (c *client) inventory() pb.InventoryClient { return pb.NewInventoryClient(c.conn) }
func (c *client) peering() pb.PeeringClient     { return pb.NewPeeringClient(c.conn) }
func (c *client) command() pb.CommandClient     { return pb.NewCommandClient(c.conn) }

func (c *client) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", c.socket)
	if err != nil {
		c.refused.Store(&err)
	} else {
		c.refused.Store(nil)
	}
	return conn, err
}

// rpc is a generated method with one answer.
type rpc[Req, Resp any] func(context.Context, Req, ...grpc.CallOption) (Resp, error)

// call runs one request and its answer within the timeout.
func call[Req, Resp any](ctx context.Context, c *client, do rpc[Req, Resp], req Req) (Resp, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	resp, err := do(ctx, req)
	return resp, c.explain(err)
}

// errIdle is the cause when the next part of an answer did not come in time.
var errIdle = errors.New("no answer in time")

// receive calls each for every message of a stream. Each message, not the whole
// stream, has to come within the timeout; with opened, which is called at the
// first sign of life, only that has to.
func receive[Req any, M any](ctx context.Context, c *client, opened func(),
	open rpc[Req, grpc.ServerStreamingClient[M]], req Req, each func(*M) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.timeout, func() { cancel(errIdle) })
	defer watch.Stop()
	stream, err := open(ctx, req)
	if err == nil && opened != nil {
		var header metadata.MD
		if header, err = stream.Header(); err == nil && header != nil { // nil: it has ended already
			watch.Stop()
			opened()
		}
	}
	for err == nil {
		var m *M
		if m, err = stream.Recv(); err != nil {
			break
		}
		if opened == nil {
			watch.Reset(c.timeout)
		}
		if err := each(m); err != nil {
			return err
		}
	}
	if errors.Is(context.Cause(ctx), errIdle) {
		return c.explain(status.Error(codes.DeadlineExceeded, ""))
	}
	return c.explain(err)
}

// failure is an error with the exit code that belongs to it.
type failure struct {
	code int
	msg  string
	// notFound: the daemon knows nothing of a name that was given.
	notFound bool
}

func (f *failure) Error() string { return f.msg }

func failf(code int, format string, args ...any) *failure {
	return &failure{code: code, msg: fmt.Sprintf(format, args...)}
}

// noDaemon reports whether err says that no daemon could be reached.
func noDaemon(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.code == ExitNoDaemon
}

// explain turns what gRPC says into what an operator can act on; nil at the end
// of a stream.
func (c *client) explain(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return nil
	}
	st := status.Convert(err)
	switch st.Code() {
	case codes.Unavailable:
		if cause := c.refused.Load(); cause != nil {
			return unreachable(c.socket, *cause)
		}
		return failf(ExitNoDaemon, "the connection to caracald at %s broke: %s", c.socket, st.Message())
	case codes.DeadlineExceeded:
		return failf(ExitTimeout, "caracald did not answer within %v. Its log may say why (journalctl -u caracald); --timeout 1m waits longer", c.timeout)
	case codes.Canceled:
		return failf(ExitFailed, "interrupted")
	case codes.Unimplemented:
		return failf(ExitFailed, "this caracald cannot do that; is it of another version? caracal version shows both (%s)", st.Message())
	case codes.NotFound:
		return &failure{code: ExitFailed, msg: st.Message(), notFound: true}
	case codes.InvalidArgument:
		return failf(ExitUsage, "%s", st.Message())
	}
	return failf(ExitFailed, "%s", st.Message())
}

// unreachable says why the socket did not open, and what to do.
func unreachable(socket string, cause error) *failure {
	var errno syscall.Errno
	errors.As(cause, &errno)
	switch errno {
	case syscall.EACCES, syscall.EPERM:
		return failf(ExitNoDaemon, "no permission to open %s%s", socket, whoMay(socket))
	case syscall.ENOENT, syscall.ECONNREFUSED:
		return failf(ExitNoDaemon, "caracald is not running or %s is not its socket: %v. Start it with systemctl start caracald, or give --socket", socket, errno)
	}
	return failf(ExitNoDaemon, "cannot open %s: %v. Is caracald running? Start it with systemctl start caracald, or give --socket", socket, cause)
}

// whoMay says which group a person has to be in; it looks at the socket, or at
// its directory if that is what is closed.
func whoMay(socket string) string {
	for _, path := range []string{socket, filepath.Dir(socket)} {
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrPermission) {
			continue
		}
		if err != nil {
			break
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Gid == 0 {
			break
		}
		gid := strconv.Itoa(int(st.Gid))
		name := gid
		if g, err := user.LookupGroupId(gid); err == nil {
			name = g.Name
		}
		return fmt.Sprintf(": it is for the group %s. Use sudo, or join the group: usermod -aG %s YOU, then log in again", name, name)
	}
	return ". Use sudo"
}

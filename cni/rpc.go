package cni

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
)

// The plugin is a process of some milliseconds, and of these package grpc would
// take more than all else together: 2 ms to start, 1.5 ms for the first call. What
// it needs of gRPC is little: unary calls, one after another, on a unix socket.
// This file is that, by RFC 9113 (HTTP/2) and PROTOCOL-HTTP2.md of gRPC.

// Frame types and flags of RFC 9113 section 6.
const (
	frameData         = 0
	frameHeaders      = 1
	frameReset        = 3
	frameSettings     = 4
	framePing         = 6
	frameGoAway       = 7
	frameWindowUpdate = 8
	frameContinuation = 9

	flagEndStream  = 0x1 // DATA, HEADERS
	flagAck        = 0x1 // SETTINGS, PING
	flagEndHeaders = 0x4
	flagPadded     = 0x8
	flagPriority   = 0x20
)

const (
	preface              = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" // section 3.4
	settingInitialWindow = 4                                  // section 6.5.2
	defaultWindow        = 65535                              // section 6.9.2
	largestFrame         = 16384                              // as long as nobody asked for more
	// largestMessage is what an answer may be, and the window that the daemon gets
	// for it, so that it never has to wait for us.
	largestMessage = 16 << 20
)

// callError is what became of a call that did not succeed.
type callError struct {
	code codes.Code
	msg  string
}

func (e *callError) Error() string { return e.msg }

// channel is a connection to a gRPC server. It does one call at a time.
type channel struct {
	conn net.Conn
	r    *bufio.Reader
	out  bytes.Buffer // frames not sent yet
	dec  *hpack.Decoder
	// The streams of the call that is under way and of the next: odd numbers are
	// the client's (section 5.1.1).
	stream, next uint32
	// What may still be sent: on the connection, on the stream, and on a new one.
	window, streamWindow, initialWindow int64
	got                                 *response
}

// response is what came of the call that is under way.
type response struct {
	status, grpcStatus, message string
	body                        []byte
	block                       []byte // header block, until its end
	ends                        bool   // with the block
	done                        bool
}

// newChannel begins HTTP/2 on a connection, which it owns from then on. What it
// has to say goes out with the first call.
func newChannel(conn net.Conn) *channel {
	c := &channel{conn: conn, next: 1, r: bufio.NewReader(conn), window: defaultWindow, initialWindow: defaultWindow}
	c.dec = hpack.NewDecoder(4096, c.field)
	c.out.WriteString(preface)
	var setting [6]byte
	binary.BigEndian.PutUint16(setting[:2], settingInitialWindow)
	binary.BigEndian.PutUint32(setting[2:], largestMessage)
	c.frame(frameSettings, 0, 0, setting[:])
	c.frame(frameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, largestMessage-defaultWindow))
	return c
}

func (c *channel) close() { c.conn.Close() }

// call sends a request to a method, "/package.Service/Method", and returns the
// answer. Its errors are a *callError.
func (c *channel) call(ctx context.Context, method string, request []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, broken(err)
	}
	deadline, bounded := ctx.Deadline()
	if err := c.conn.SetDeadline(deadline); err != nil {
		return nil, broken(err)
	}
	c.stream, c.next = c.next, c.next+2
	c.streamWindow, c.got = c.initialWindow, &response{}
	c.frame(frameHeaders, flagEndHeaders, c.stream, headers(method, deadline, bounded))
	message := append(make([]byte, 1, 5+len(request)), binary.BigEndian.AppendUint32(nil, uint32(len(request)))...)
	err := c.send(append(message, request...))
	for err == nil && !c.got.done {
		err = c.receive()
	}
	if err != nil {
		return nil, broken(err)
	}
	return c.got.result()
}

// headers are those of a request. None of them goes into the table of the
// connection, so there is no state to share.
func headers(method string, deadline time.Time, bounded bool) []byte {
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "localhost"},
		{"content-type", "application/grpc"}, {"te", "trailers"}, {"user-agent", PluginType},
	}
	if bounded {
		fields = append(fields, [2]string{"grpc-timeout", strconv.FormatInt(max(1, time.Until(deadline).Milliseconds()), 10) + "m"})
	}
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for _, f := range fields {
		// Writing into a buffer does not fail.
		_ = enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1], Sensitive: true})
	}
	return b.Bytes()
}

// frame adds a frame to what is to be sent.
func (c *channel) frame(kind, flags byte, stream uint32, payload []byte) {
	var h [9]byte
	binary.BigEndian.PutUint32(h[:4], uint32(len(payload))<<8|uint32(kind))
	h[4] = flags
	binary.BigEndian.PutUint32(h[5:], stream)
	c.out.Write(h[:])
	c.out.Write(payload)
}

func (c *channel) flush() error {
	_, err := c.out.WriteTo(c.conn)
	return err
}

// send sends a message, as fast as the windows let it, or until the answer is
// there all the same.
func (c *channel) send(message []byte) error {
	for !c.got.done {
		n := min(int64(len(message)), largestFrame, c.window, c.streamWindow)
		if n <= 0 {
			if err := errors.Join(c.flush(), c.receive()); err != nil {
				return err
			}
			continue
		}
		c.window -= n
		c.streamWindow -= n
		var flags byte
		if int(n) == len(message) {
			flags = flagEndStream
		}
		c.frame(frameData, flags, c.stream, message[:n])
		if message = message[n:]; len(message) == 0 {
			break
		}
	}
	return c.flush()
}

// receive takes the next frame.
func (c *channel) receive() error {
	var h [9]byte
	if _, err := io.ReadFull(c.r, h[:]); err != nil {
		return err
	}
	size := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	kind, flags, stream := h[3], h[4], binary.BigEndian.Uint32(h[5:])&^(1<<31)
	if size > largestFrame {
		return fmt.Errorf("a frame has %d bytes", size)
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.r, payload); err != nil {
		return err
	}
	if err := c.take(kind, flags, stream, payload); err != nil {
		return err
	}
	return c.flush()
}

func (c *channel) take(kind, flags byte, stream uint32, p []byte) error {
	switch kind {
	case frameSettings:
		if flags&flagAck == 0 {
			c.settings(p)
			c.frame(frameSettings, flagAck, 0, nil)
		}
	case framePing:
		if flags&flagAck == 0 {
			c.frame(framePing, flagAck, 0, p)
		}
	case frameWindowUpdate:
		if len(p) != 4 {
			return fmt.Errorf("a window update has %d bytes", len(p))
		}
		switch more := int64(binary.BigEndian.Uint32(p) &^ (1 << 31)); stream {
		case 0:
			c.window += more
		case c.stream:
			c.streamWindow += more
		}
	case frameGoAway:
		if len(p) < 8 || binary.BigEndian.Uint32(p)&^(1<<31) < c.stream {
			return errors.New("caracald is about to end")
		}
	case frameReset:
		if stream == c.stream {
			return errors.New("caracald broke the call off")
		}
	case frameData, frameHeaders, frameContinuation:
		return c.answer(kind, flags, stream, p)
	}
	return nil // other frames are to be ignored (section 4.1)
}

func (c *channel) settings(p []byte) {
	for ; len(p) >= 6; p = p[6:] {
		if binary.BigEndian.Uint16(p) == settingInitialWindow {
			is := int64(binary.BigEndian.Uint32(p[2:]))
			c.streamWindow += is - c.initialWindow // section 6.9.2
			c.initialWindow = is
		}
	}
}

// answer takes a part of the answer.
func (c *channel) answer(kind, flags byte, stream uint32, p []byte) error {
	if flags&flagPadded != 0 && kind != frameContinuation {
		if len(p) == 0 || int(p[0]) >= len(p) {
			return errors.New("a frame has more padding than bytes")
		}
		p = p[1 : len(p)-int(p[0])]
	}
	if flags&flagPriority != 0 && kind == frameHeaders {
		if len(p) < 5 {
			return errors.New("a frame of headers is too short")
		}
		p = p[5:]
	}
	got := c.got
	if kind == frameData {
		if stream != c.stream {
			return nil
		}
		if got.body = append(got.body, p...); len(got.body) > largestMessage {
			return fmt.Errorf("the answer has more than %d bytes", largestMessage)
		}
		got.done = flags&flagEndStream != 0
		return nil
	}
	// Headers of other streams, too, are for the decoder's table.
	got.block = append(got.block, p...)
	if kind == frameHeaders {
		got.ends = flags&flagEndStream != 0
	}
	if flags&flagEndHeaders == 0 {
		if len(got.block) > largestMessage {
			return errors.New("the headers have no end")
		}
		return nil
	}
	if _, err := c.dec.Write(got.block); err != nil {
		return err
	}
	got.block = nil
	got.done = got.ends && stream == c.stream
	return c.dec.Close()
}

// field takes a header of the answer.
func (c *channel) field(f hpack.HeaderField) {
	switch f.Name {
	case ":status":
		c.got.status = f.Value
	case "grpc-status":
		c.got.grpcStatus = f.Value
	case "grpc-message":
		c.got.message = f.Value
		// PathUnescape is the percent-encoding of PROTOCOL-HTTP2.md; what is not
		// encoded well is to be kept.
		if text, err := url.PathUnescape(f.Value); err == nil {
			c.got.message = text
		}
	}
}

// result is the message of a whole answer.
func (r *response) result() ([]byte, error) {
	if r.grpcStatus == "" {
		return nil, &callError{codes.Unknown, fmt.Sprintf("the answer has no status of gRPC (HTTP status %s): who listens on the socket is not caracald", strings.TrimSpace(r.status))}
	}
	if code, err := strconv.ParseUint(r.grpcStatus, 10, 32); err != nil || code != 0 {
		if err != nil {
			code = uint64(codes.Unknown)
		}
		return nil, &callError{codes.Code(code), r.message}
	}
	if len(r.body) < 5 || r.body[0] != 0 || int64(binary.BigEndian.Uint32(r.body[1:])) != int64(len(r.body)-5) {
		return nil, &callError{codes.Internal, fmt.Sprintf("the answer of %d bytes is not one message", len(r.body))}
	}
	return r.body[5:], nil
}

// broken is the error of a connection that ended before the answer.
func broken(err error) *callError {
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return &callError{codes.DeadlineExceeded, "caracald did not answer in time; look at journalctl -u caracald"}
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &callError{codes.Unavailable, "caracald ended in the middle of the call; look at journalctl -u caracald"}
	}
	return &callError{codes.Unavailable, fmt.Sprintf("the connection to caracald broke: %v", err)}
}

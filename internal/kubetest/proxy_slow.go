package kubetest

import (
	"io"
	"net"
	"sync"
	"time"
)

// slowConn is a connection through which bytes come slowly.
type slowConn struct {
	net.Conn
	p *Proxy
}

// piece is how many bytes a slow connection takes at a time, so that a short message
// does not wait for the whole of a long one.
const piece = 1024

func (c *slowConn) pause(bytes int) {
	c.p.mu.Lock()
	rate := c.p.rate
	c.p.mu.Unlock()
	if rate > 0 {
		time.Sleep(time.Duration(bytes) * time.Second / time.Duration(rate))
	}
}

// Read implements net.Conn.
func (c *slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b[:min(len(b), piece)])
	c.pause(n)
	return n, err
}

// Write implements net.Conn.
func (c *slowConn) Write(b []byte) (n int, err error) {
	for len(b) > 0 && err == nil {
		var done int
		done, err = c.Conn.Write(b[:min(len(b), piece)])
		c.pause(done)
		n, b = n+done, b[done:]
	}
	return n, err
}

// Close implements net.Conn.
func (c *slowConn) Close() error {
	err := c.Conn.Close()
	go func() { // the proxy may close us with its lock held
		c.p.mu.Lock()
		defer c.p.mu.Unlock()
		delete(c.p.conns, c)
	}()
	return err
}

// lagging is the body of a watch whose pieces come late.
type lagging struct {
	inner  io.ReadCloser
	pieces chan latePiece
	rest   []byte
	done   chan struct{}
	once   sync.Once
}

type latePiece struct {
	bytes []byte
	err   error
	due   time.Time
}

// lag returns a body that gives each piece of another so much later.
func (p *Proxy) lag(body io.ReadCloser, late time.Duration) io.ReadCloser {
	l := &lagging{inner: body, pieces: make(chan latePiece, 1000), done: make(chan struct{})}
	go func() {
		for {
			b := make([]byte, 16<<10)
			n, err := body.Read(b)
			if isExpired(b[:n]) {
				p.noteExpired()
			}
			select {
			case l.pieces <- latePiece{b[:n], err, time.Now().Add(late)}:
			case <-l.done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return l
}

// Read implements io.Reader.
func (l *lagging) Read(b []byte) (int, error) {
	for len(l.rest) == 0 {
		select {
		case next := <-l.pieces:
			select {
			case <-time.After(time.Until(next.due)):
			case <-l.done:
				return 0, errClosed
			}
			if l.rest = next.bytes; len(l.rest) == 0 && next.err != nil {
				return 0, next.err
			}
			if next.err != nil { // for the next call
				l.pieces <- latePiece{err: next.err}
			}
		case <-l.done:
			return 0, errClosed
		}
	}
	n := copy(b, l.rest)
	l.rest = l.rest[n:]
	return n, nil
}

// Close implements io.Closer.
func (l *lagging) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.inner.Close()
}

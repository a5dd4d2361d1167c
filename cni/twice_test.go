package cni

import (
	"context"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/containernetworking/cni/pkg/types"

	"caracal.dev/caracal/internal/nstest"
)

// A DEL is about one network: the same interface of the same container in another
// one stays.
func TestDelOfAnotherNetwork(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	c := call{id: "c1", ifname: "eth0", netns: pod.Path()}
	r.add(c)
	other := c
	other.command, other.conf = "DEL", map[string]any{"name": "other"}
	r.mustRun(other)
	if all, ready := r.counts(); len(r.links()) != 1 || all != 1 || ready != 1 || len(r.queued()) > 0 {
		t.Errorf("after the DEL of another network: links %v, %d endpoints, %d ready, queue %v", r.links(), all, ready, r.queued())
	}
	c.command = "DEL"
	r.mustRun(c)
	r.clean()
}

// Of two ADDs for one interface that come at once, the second waits for the first:
// both have the same result, and neither undoes the other's.
func TestAddTwiceAtOnce(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	c := call{command: "ADD", id: "c1", ifname: "eth0", netns: pod.Path()}
	const many = 6
	var results [many]string
	var wait sync.WaitGroup
	for i := range many {
		wait.Go(func() {
			out, err := r.run(c)
			if err != nil {
				t.Errorf("ADD: code %d: %v", err.Code, err)
			}
			results[i] = string(out)
		})
	}
	wait.Wait()
	for _, text := range results {
		if text != results[0] {
			t.Errorf("result %s, and another %s", text, results[0])
		}
	}
	if all, ready := r.counts(); len(r.links()) != 1 || all != 1 || ready != 1 {
		t.Errorf("links %v, %d endpoints, %d ready", r.links(), all, ready)
	}
	c.command = "DEL"
	r.mustRun(c)
	r.clean()
}

// The first of two that fails leaves the way free for the second.
func TestAddAfterOneThatFails(t *testing.T) {
	r, pod := newRig(t), nstest.New(t)
	c := call{command: "ADD", id: "c1", ifname: "eth0", netns: pod.Path()}
	var once sync.Once
	inReady, goOn := make(chan struct{}), make(chan struct{})
	r.on(func(_ context.Context, method string) (err error) {
		if method == "ready" {
			once.Do(func() {
				close(inReady)
				<-goOn
				err = status.Error(codes.Unavailable, "the sentence")
			})
		}
		return err
	})
	var wait sync.WaitGroup
	wait.Go(func() { r.fails(c, types.ErrTryAgainLater, "the sentence") })
	<-inReady
	wait.Go(func() {
		if _, err := r.run(c); err != nil {
			t.Errorf("the second ADD: code %d: %v", err.Code, err)
		}
	})
	close(goOn)
	wait.Wait()
	if all, ready := r.counts(); len(r.links()) != 1 || all != 1 || ready != 1 {
		t.Errorf("links %v, %d endpoints, %d ready", r.links(), all, ready)
	}
}

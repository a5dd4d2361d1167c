package kube

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"caracal.dev/caracal"
	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/store"
)

// Secrets are read by name, since a right to list them would be one to all of the
// namespace: soon again after a failure, and now and then to see a change.
const (
	secretFirst = time.Second
	secretMost  = time.Minute
	secretAgain = 5 * time.Minute
	secretTime  = 10 * time.Second // of one request
)

// vault reads passwords. One that was in force stays so while its Secret cannot be
// read: a session without one is never an answer, and one that goes down helps nobody.
type vault struct {
	o    Options
	ring func() // has the store look again
	bell chan struct{}

	mu      sync.Mutex
	secrets map[string]*secret // those that are referred to, by name
	fresh   bool               // something is other than it was
	unkept  bool               // and not on disk yet
}

// ownSecret is the one that the daemon may read as it is installed (manifests/base/rbac.yaml).
const ownSecret = "caracal-bgp"

// secret is one Secret.
type secret struct {
	words    map[string]string // by key; those of the last time that it could be read
	err      string            // why it cannot be read now
	read     bool
	due      time.Time
	failures int
	used     bool // by the last build
}

func newVault(o Options, ring func()) *vault {
	return &vault{o: o, ring: ring, bell: make(chan struct{}, 1), secrets: map[string]*secret{}}
}

// password implements [store.Secrets]. What is not read yet is read soon, and the
// store is told.
func (v *vault) password(ref v1.SecretKeyRef) caracal.Password {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.named(ref)
	p.Err = ""
	s := v.secrets[ref.Name]
	if s == nil {
		s = &secret{}
		v.secrets[ref.Name] = s
		v.wake()
	}
	s.used = true
	word, ok := s.words[ref.Key]
	switch {
	case ok:
		good, err := store.CheckPassword(word)
		if err != nil {
			p.Err = err.Error()
			break
		}
		p.Secret = caracal.NewSecret(good)
	case s.err != "":
		p.Err = s.err
	case !s.read:
		p.Err = "it is not read yet"
	default:
		p.Err = "the Secret has no such key"
	}
	return p
}

// named is a password of which only the place is told: for the view of another node,
// which alone reads it.
func (v *vault) named(ref v1.SecretKeyRef) caracal.Password {
	return caracal.Password{From: fmt.Sprintf("Secret %s/%s, key %s", v.o.Namespace, ref.Name, ref.Key), Err: "secrets are not read here"}
}

// begin is called before a build: what is not asked for in it is not read any more.
func (v *vault) begin() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for name, s := range v.secrets {
		if !s.used {
			delete(v.secrets, name)
		}
		s.used = false
	}
}

func (v *vault) wake() {
	select {
	case v.bell <- struct{}{}:
	default:
	}
}

// again has everything read anew.
func (v *vault) again() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.secrets {
		s.due = time.Time{}
	}
	v.wake()
}

// changed reports whether a password differs since the last call.
func (v *vault) changed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.fresh
	v.fresh = false
	return was
}

// problems are the Secrets whose last passwords stay.
func (v *vault) problems() []caracal.Problem {
	v.mu.Lock()
	defer v.mu.Unlock()
	var list []caracal.Problem
	for _, name := range slices.Sorted(maps.Keys(v.secrets)) {
		if s := v.secrets[name]; s.err != "" && s.words != nil {
			list = append(list, caracal.Problem{Severity: caracal.Warning, Kind: "Secret", Name: name, Message: fmt.Sprintf(
				"Secret %s/%s: %s; the passwords that were read before stay in force", v.o.Namespace, name, s.err)})
		}
	}
	return list
}

// run reads what is due until ctx ends.
func (v *vault) run(ctx context.Context) {
	for {
		name, wait := v.next()
		if name == "" {
			select {
			case <-ctx.Done():
				return
			case <-v.bell:
			case <-time.After(wait):
			}
			continue
		}
		v.read(ctx, name)
		if ctx.Err() != nil {
			return
		}
	}
}

// next returns a Secret that is due, or how long none is.
func (v *vault) next() (string, time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	wait, now := time.Hour, time.Now()
	for _, name := range slices.Sorted(maps.Keys(v.secrets)) {
		left := v.secrets[name].due.Sub(now)
		if left <= 0 {
			return name, 0
		}
		wait = min(wait, left)
	}
	return "", wait
}

func (v *vault) read(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, secretTime)
	defer cancel()
	got, err := v.o.Client.Core.CoreV1().Secrets(v.o.Namespace).Get(ctx, name, metav1.GetOptions{})
	why := ""
	switch {
	case apierrors.IsNotFound(err):
		why = "there is no such Secret"
	case apierrors.IsForbidden(err) && name != ownSecret:
		why = fmt.Sprintf("%v; add %s to the resourceNames of the Role caracal-secrets in namespace %s, or use the Secret %s", err, name, v.o.Namespace, ownSecret)
	case err != nil:
		why, _ = reason("Secret", err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.secrets[name]
	if s == nil || ctx.Err() == context.Canceled {
		return
	}
	changed := s.err != why || !s.read
	s.err, s.read = why, true
	if err != nil {
		s.failures++
		s.due = time.Now().Add(jitter(min(secretFirst<<min(s.failures-1, 6), secretMost)))
	} else {
		words := make(map[string]string, len(got.Data))
		for k, b := range got.Data {
			words[k] = string(b)
		}
		changed = changed || !maps.Equal(words, s.words)
		s.words, s.failures, s.due = words, 0, time.Now().Add(jitter(secretAgain))
	}
	if changed {
		v.fresh, v.unkept = true, true
		v.ring()
	}
}

// unsaved reports whether something is other than at the last call.
func (v *vault) unsaved() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.unkept
	v.unkept = false
	return was
}

// all returns what was read, by Secret and key, to be kept where only root reads it:
// a node that starts while the API is away needs its passwords to reach it again.
func (v *vault) all() map[string]map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	all := map[string]map[string]string{}
	for name, s := range v.secrets {
		if s.used && s.words != nil {
			all[name] = s.words
		}
	}
	return all
}

// remember takes back what was kept.
func (v *vault) remember(name string, words map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.secrets[name] = &secret{words: words, used: true}
}

// jitter returns a time between d and half as much again.
func jitter(d time.Duration) time.Duration { return d + rand.N(d/2+1) }

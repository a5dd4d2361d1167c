package endpoint

import (
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"caracal.dev/caracal"
)

// Fake is a [Ground] for tests: a machine whose containers come and go as the
// test says. Make it with [NewFake]; its methods may be called from any
// goroutine.
type Fake struct {
	mu        sync.Mutex
	boots     int
	inodes    int
	netns     map[string]string
	links     map[string]bool
	forgotten []netip.Addr
	deleted   []string
	stuck     map[string]bool
}

// NewFake returns a machine without containers.
func NewFake() *Fake {
	return &Fake{netns: map[string]string{}, links: map[string]bool{}, stuck: map[string]bool{}}
}

// Container makes a network namespace at a path.
func (f *Fake) Container(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inodes++
	f.netns[path] = fmt.Sprint(f.inodes)
}

// Link makes an interface, as the plugin does.
func (f *Fake) Link(name string, up bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.links[name] = up
}

// Unlink removes an interface without a word.
func (f *Fake) Unlink(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.links, name)
}

// Kill ends a container, without a word: its namespace and its link go.
func (f *Fake) Kill(path string, id ID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.netns, path)
	delete(f.links, caracal.HostInterface(id.ContainerID, id.Interface))
}

// Stick has DeleteLink fail for an interface, or not any more.
func (f *Fake) Stick(name string, stuck bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stuck[name] = stuck
}

// Reboot ends all containers and gives the machine another boot ID.
func (f *Fake) Reboot() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.boots++
	clear(f.netns)
	clear(f.links)
}

// Forgotten returns the addresses that Forget was called for, in order.
func (f *Fake) Forgotten() []netip.Addr {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]netip.Addr(nil), f.forgotten...)
}

// BootID implements [Ground].
func (f *Fake) BootID() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("boot%d", f.boots), nil
}

// NetNS implements [Ground].
func (f *Fake) NetNS(path string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.netns[path], nil
}

// Links implements [Ground].
func (f *Fake) Links() (map[string]bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.links), nil
}

// DeleteLink implements [Ground].
func (f *Fake) DeleteLink(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stuck[name] {
		return fmt.Errorf("delete interface %s: device or resource busy", name)
	}
	if _, ok := f.links[name]; ok {
		f.deleted = append(f.deleted, name)
	}
	delete(f.links, name)
	return nil
}

// Forget implements [Ground].
func (f *Fake) Forget(addrs []netip.Addr) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = append(f.forgotten, addrs...)
	return nil
}

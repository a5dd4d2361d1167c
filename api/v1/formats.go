package v1

// The formats that fields share. They are other names of string, so that
// the schema of the API server (manifests/base/crds.yaml) says of each what
// Validate says of it; where the two differ, test/crd has the list.

// Prefix is a range: an address with a prefix length and no bits beyond it, such
// as 10.0.0.0/24 or 2001:db8::/64.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isCIDR(self) && cidr(self) == cidr(self).masked()`,message="must be a range such as 10.0.0.0/24 or 2001:db8::/64, with no bits set beyond its length"
type Prefix = string

// PodRange is a range that pods can have addresses from: a [Prefix] that is not
// the default route, nor one of addresses that no host has.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule=`isCIDR(self) && cidr(self) == cidr(self).masked()`,message="must be a range such as 10.0.0.0/24 or 2001:db8::/64, with no bits set beyond its length"
// +kubebuilder:validation:XValidation:rule=`!isCIDR(self) || cidr(self).prefixLength() > 0 && cidr(self).ip().isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(cidr(self).ip()) && !cidr('240.0.0.0/4').containsIP(cidr(self).ip())`,message="must not be the default route, nor a loopback, link-local, multicast or reserved range"
type PodRange = string

// NodeAddress is an address of a host with the prefix length of the network that
// it is on, such as 192.0.2.1/24.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule=`isCIDR(self)`,message="must be an address with the prefix length of its network, such as 192.0.2.1/24 or 2001:db8::1/64"
// +kubebuilder:validation:XValidation:rule=`!isCIDR(self) || cidr(self).prefixLength() > 0 && cidr(self).ip().isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(cidr(self).ip()) && !cidr('240.0.0.0/4').containsIP(cidr(self).ip())`,message="must be the address of a host with the length of its network, not loopback, link-local, multicast or reserved"
type NodeAddress = string

// Address is an address of a host, such as 192.0.2.1 or 2001:db8::1.
//
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isIP(self)`,message="must be an address without a prefix length, such as 192.0.2.1 or 2001:db8::1"
// +kubebuilder:validation:XValidation:rule=`!isIP(self) || ip(self).isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(ip(self)) && !cidr('240.0.0.0/4').containsIP(ip(self))`,message="must be the address of a host, not loopback, link-local, multicast or reserved"
type Address = string

// ReservedRange is a range or a single address.
//
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule=`isIP(self) || isCIDR(self) && cidr(self) == cidr(self).masked()`,message="must be an address or a range such as 10.0.0.1, 10.0.0.0/29 or 2001:db8::/120, with no bits set beyond its length"
// +kubebuilder:validation:XValidation:rule=`!isCIDR(self) || cidr(self).prefixLength() > 0 && cidr(self).ip().isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(cidr(self).ip()) && !cidr('240.0.0.0/4').containsIP(cidr(self).ip())`,message="must not be every address there is (set disabled: true in the IPPools), nor a loopback, link-local, multicast or reserved range"
// +kubebuilder:validation:XValidation:rule=`!isIP(self) || ip(self).isGlobalUnicast() && !cidr('0.0.0.0/8').containsIP(ip(self)) && !cidr('240.0.0.0/4').containsIP(ip(self))`,message="must be the address of a host, not loopback, link-local, multicast or reserved"
type ReservedRange = string

// ClusterID is 32 bits other than 0, written as an IPv4 address (RFC 4456 section
// 7).
//
// +kubebuilder:validation:MaxLength=45
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || isIP(self) && ip(self).family() == 4 && !ip(self).isUnspecified()`,message="must be written as an IPv4 address other than 0.0.0.0, such as 192.0.2.1"
type ClusterID = string

// Selector selects by labels: all(), has(key), key == 'value', key != 'value',
// key in {'a', 'b'}, key not in {…}, key contains 'v', key starts with 'v', key ends
// with 'v', joined by !, && and ||, with parentheses.
//
// +kubebuilder:validation:MaxLength=16384
// +kubebuilder:validation:XValidation:rule=`self.matches('^\\s*([!(\\s]*(all\\s*\\(\\s*\\)|has\\s*\\(\\s*[\\w./-]+\\s*\\)|[\\w./-]+(\\s*[=!]=|\\s+(contains|starts\\s+with|ends\\s+with))\\s*(\\x27[^\\x27]*\\x27|\\x22[^\\x22]*\\x22)|[\\w./-]+\\s+(not\\s+)?in\\s*\\{\\s*((\\x27[^\\x27]*\\x27|\\x22[^\\x22]*\\x22)\\s*(,\\s*(\\x27[^\\x27]*\\x27|\\x22[^\\x22]*\\x22)\\s*)*)?\\})[)\\s]*((&&|[|][|])[!(\\s]*(all\\s*\\(\\s*\\)|has\\s*\\(\\s*[\\w./-]+\\s*\\)|[\\w./-]+(\\s*[=!]=|\\s+(contains|starts\\s+with|ends\\s+with))\\s*(\\x27[^\\x27]*\\x27|\\x22[^\\x22]*\\x22)|[\\w./-]+\\s+(not\\s+)?in\\s*\\{\\s*((\\x27[^\\x27]*\\x27|\\x22[^\\x22]*\\x22)\\s*(,\\s*(\\x27[^\\x27]*\\x27|\\x22[^\\x22]*\\x22)\\s*)*)?\\})[)\\s]*)*)?$')`,message="is not a selector, such as has(rack) && zone == 'a': quote values, and write ==, && and ||"
type Selector = string

// Name is the name of an object.
//
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')`,message="must be lower-case letters, digits, - and ., beginning and ending with a letter or digit"
type Name = string

// LabelKey is the key of a label.
//
// +kubebuilder:validation:MaxLength=317
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$') && self.split('/')[0].size() <= 253`,message="must be the key of a label, such as rack or example.com/rack"
type LabelKey = string

// Community is a community in numbers, 65000:1 (RFC 1997) or 65000:1:2 (RFC 8092),
// or one of no-export, no-advertise, graceful-shutdown, llgr-stale and no-llgr.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self in ['no-export', 'no-advertise', 'graceful-shutdown', 'llgr-stale', 'no-llgr'] || self.matches('^((0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]):(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])|(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-4])(:(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])){2})$')`,message="must be two numbers up to 65535 (65000:1), three numbers up to 4294967295 (65000:1:2) of which the first is not 4294967295, or graceful-shutdown, llgr-stale, no-advertise, no-export or no-llgr"
type Community = string

// FilterCommunity is a [Community] too, in words that cost the API server less.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern=`^(no-export|no-advertise|graceful-shutdown|llgr-stale|no-llgr|(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]):(0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])|(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-4])(:(0|[1-9][0-9]{0,8}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])){2})$`
type FilterCommunity = string

// BFDInterval is a time of whole milliseconds from 10ms to 60s.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^([0-9]+m)?([0-9]+([.][0-9]{1,3})?s)?([0-9]+ms)?$') && duration(self) >= duration('10ms') && duration(self) <= duration('60s')`,message="must be a duration of whole milliseconds from 10ms to 60s, such as 300ms"
type BFDInterval = string

// HoldTime is a time of whole seconds that fits a hold time (RFC 4271 section 4.2).
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') && duration(self) >= duration('3s') && duration(self) <= duration('65535s') && timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())`,message="must be a duration of whole seconds from 3s to 65535s, such as 90s"
type HoldTime = string

// KeepaliveTime is a time of whole seconds, at most a third of a hold time.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('21845s') && timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())`,message="must be a duration of whole seconds from 1s to 21845s, such as 30s"
type KeepaliveTime = string

// RestartTime is a time of whole seconds in 12 bits (RFC 4724 section 3).
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('4095s') && timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())`,message="must be a duration of whole seconds from 1s to 4095s, such as 120s"
type RestartTime = string

// StaleTime is a time of whole seconds in 24 bits (RFC 9494 section 3.1).
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') && duration(self) >= duration('0s') && duration(self) <= duration('16777215s') && timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())`,message="must be a duration of whole seconds from 0s to 16777215s, such as 6h"
type StaleTime = string

// Interval is a time of whole seconds from 1s to a day.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') && duration(self) >= duration('1s') && duration(self) <= duration('24h') && timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())`,message="must be a duration of whole seconds from 1s to 24h, such as 60s"
type Interval = string

// Delay is a time of whole seconds up to a day; 0s counts.
//
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule=`self.size() == 0 || self.matches('^[-+]?(0|([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|μs|ms|s|m|h))+$') && duration(self) >= duration('0s') && duration(self) <= duration('24h') && timestamp(0) + duration(self) == timestamp(duration(self).getSeconds())`,message="must be a duration of whole seconds from 0s to 24h, such as 30s"
type Delay = string

// SecretPart is the name of a secret or of a key in one.
//
// +kubebuilder:validation:MaxLength=253
type SecretPart = string

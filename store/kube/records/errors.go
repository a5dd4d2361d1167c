package records

import (
	"errors"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"caracal.dev/caracal/ipam"
)

const (
	group   = "caracal.dev"
	version = "v1"
)

// errRefused marks errors of requests that certainly had no effect.
var errRefused = errors.New("refused")

// refused reports whether a request certainly had no effect, and why not is known.
func refused(err error) bool { return errors.Is(err, errRefused) }

// explain makes of an error of the API one of package ipam, or one that says what
// to do. What is left may or may not have been done.
func (res resource) explain(verb, name string, err error) error {
	what := res.name
	if name != "" {
		what += " " + name
	}
	switch {
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return ipam.ErrConflict
	case apierrors.IsNotFound(err) && named(err, name):
		return ipam.ErrNotFound
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: the API does not know %s.%s: apply manifests/base/crds.yaml: %w", errRefused, res.name, group, err)
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return fmt.Errorf("%w: the API does not let us %s %s: apply manifests/base/rbac.yaml, and look whether the daemon's ServiceAccount is the one that it names: %w", errRefused, verb, what, err)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return fmt.Errorf("%w: the API does not take %s: are the CustomResourceDefinitions of this version applied (manifests/base/crds.yaml)? %w", errRefused, what, err)
	case apierrors.IsRequestEntityTooLargeError(err):
		return fmt.Errorf("%w: %s is too large for the API: %w", errRefused, what, err)
	case apierrors.IsTooManyRequests(err):
		return fmt.Errorf("%w: the API is overloaded; try again later: %w", errRefused, err)
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return fmt.Errorf("the API of Kubernetes does not answer (%s %s): %w", verb, what, err)
	}
	return fmt.Errorf("%s %s: %w", verb, what, err)
}

// named reports whether it is an object that is not there, and not the whole kind.
func named(err error, name string) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && name != "" && status.Status().Details != nil && status.Status().Details.Name == name
}

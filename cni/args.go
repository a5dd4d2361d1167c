package cni

import (
	"fmt"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
)

// args is what CNI_ARGS says.
type args struct {
	namespace, pod, uid string
	ips                 []string
	mac                 string
}

// parseArgs reads CNI_ARGS, "K=V;K=V". IP may be there several times, or have a
// list separated by commas: podman gives each address its own. A key that is not
// known is an error unless IgnoreUnknown is true.
func parseArgs(text string) (args, error) {
	var a args
	var unknown []string
	ignore := false
	for pair := range strings.SplitSeq(text, ";") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return args{}, badArgs(fmt.Sprintf("%q is not KEY=VALUE", pair))
		}
		switch key {
		case "K8S_POD_NAMESPACE":
			a.namespace = value
		case "K8S_POD_NAME":
			a.pod = value
		case "K8S_POD_UID":
			a.uid = value
		case "K8S_POD_INFRA_CONTAINER_ID": // the same as CNI_CONTAINERID
		case "IP":
			a.ips = append(a.ips, listOf(value)...)
		case "MAC":
			a.mac = value
		case "IgnoreUnknown":
			switch strings.ToLower(value) {
			case "1", "true":
				ignore = true
			case "0", "false", "":
			default:
				return args{}, badArgs(fmt.Sprintf("IgnoreUnknown is %q, not true or false", value))
			}
		default:
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 && !ignore {
		return args{}, badArgs(fmt.Sprintf("%s is not known; give IgnoreUnknown=1 to have it ignored", strings.Join(unknown, ", ")))
	}
	return a, nil
}

func badArgs(what string) *types.Error {
	return types.NewError(types.ErrInvalidEnvironmentVariables, "caracal-cni: CNI_ARGS: "+what, "")
}

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	v1 "caracal.dev/caracal/api/v1"
	"caracal.dev/caracal/cli"
	"caracal.dev/caracal/convert"
	"caracal.dev/caracal/internal/dashes"
)

const convertUsage = `caracal convert writes the configuration of Calico or kube-router as Caracal's.

usage: caracal convert -f FILE [-f FILE ...] [--mixed] [--pod-cidrs]
                       [--only KIND[,KIND ...]]

  -f FILE      what kubectl get -o yaml or calicoctl get -o yaml printed, YAML or
               JSON; again for another file, - for standard input
  --mixed      Calico still runs on some of the nodes: its pools are written
               disabled, for it still gives their addresses
  --pod-cidrs  pods have their addresses from spec.podCIDRs of their Node, as with
               host-local IPAM (a Node with an annotation of kube-router says so)
  --only KINDS write these kinds only, such as NodeConfig; all is read all the same

The resources go to standard output, as one file for /etc/caracal/cluster or for
kubectl apply. To standard error goes, a line each, what is no longer protected,
what is not carried, why, and what to do about it. Secrets are never written.

exit codes:
  0 written; what is not carried is listed    1 cannot be read    2 not understood
  3 written, but something that was protected no longer is: see the lines that
    begin with UNPROTECTED AFTER MIGRATION

example:
  kubectl get nodes,namespaces,networkpolicies,ippools.crd.projectcalico.org,\
bgpconfigurations.crd.projectcalico.org -A -o yaml | caracal convert -f -

docs/MIGRATION.md lists all kinds to give, and says how a cluster moves.
`

// exitUnprotected is for a configuration that protects less than before.
const exitUnprotected = 3

// convertFrom is `caracal convert`.
func convertFrom(stdin io.Reader) func(context.Context, []string, io.Writer, io.Writer) int {
	return func(_ context.Context, args []string, stdout, stderr io.Writer) int {
		files, o, err := parseConvert(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			fmt.Fprint(stdout, convertUsage)
			return cli.ExitOK
		case err != nil:
			fmt.Fprintf(stderr, "caracal convert: %v\n\n%s", err, convertUsage)
			return cli.ExitUsage
		}
		var text []byte
		result := &convert.Result{}
		inputs, err := readInputs(files, stdin)
		if err == nil {
			result, err = convert.Convert(inputs, o)
		}
		if err == nil {
			text, err = result.YAML()
		}
		if err == nil {
			_, err = stdout.Write(text)
		}
		if err != nil {
			fmt.Fprintf(stderr, "caracal: %v\n", err)
			return cli.ExitFailed
		}
		fmt.Fprint(stderr, result.Report())
		if len(result.Exposed) > 0 {
			return exitUnprotected
		}
		return cli.ExitOK
	}
}

func parseConvert(args []string) ([]string, convert.Options, error) {
	var files []string
	var o convert.Options
	fs := flag.NewFlagSet("convert", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Func("f", "", func(s string) error {
		if s == "" {
			return errors.New("a file is missing")
		}
		files = append(files, s)
		return nil
	})
	fs.BoolVar(&o.Mixed, "mixed", false, "")
	fs.BoolVar(&o.PodCIDRs, "pod-cidrs", false, "")
	fs.Func("only", "", func(s string) error {
		for kind := range strings.SplitSeq(s, ",") {
			if v1.New(kind) == nil {
				return fmt.Errorf("%q is no kind; there are %s", kind, strings.Join(v1.Kinds(), ", "))
			}
			o.Only = append(o.Only, kind)
		}
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return nil, o, dashes.Error(err)
	}
	switch {
	case fs.NArg() > 0:
		return nil, o, fmt.Errorf("%q is not a flag; a file is given by -f", fs.Arg(0))
	case len(files) == 0:
		return nil, o, errors.New("-f must say what to read, - for standard input")
	}
	return files, o, nil
}

func readInputs(files []string, stdin io.Reader) ([]convert.Input, error) {
	var inputs []convert.Input
	read := false
	for _, name := range files {
		in := convert.Input{Name: name}
		var err error
		switch {
		case name != "-":
			in.Data, err = os.ReadFile(name)
		case read:
			err = errors.New("convert: standard input is given twice")
		default:
			read = true
			in.Name = "standard input"
			in.Data, err = io.ReadAll(stdin)
		}
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, in)
	}
	return inputs, nil
}

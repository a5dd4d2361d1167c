package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"path/filepath"

	"caracal.dev/caracal/cli"
	"caracal.dev/caracal/internal/dashes"
	"caracal.dev/caracal/store/file"
)

const initUsage = `caracal init writes a first configuration, the same for every host.

usage: caracal init --pool CIDR --node NAME=ADDR/LEN --out DIR

  --pool CIDR                      range of pod addresses; again for another one
  --node NAME=ADDR/LEN[,ADDR/LEN]  a host, its addresses and the length of their
                                   networks; again for each host
  --asn NUMBER                     AS number of all hosts (64512)
  --out DIR                        where to write; what is there is not touched

example:
  caracal init --pool 10.244.0.0/16 --node web1=192.0.2.1/24 \
    --node web2=192.0.2.2/24 --out /etc/caracal
`

// initialize is `caracal init`.
func initialize(_ context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parseInit(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(stdout, initUsage)
		return cli.ExitOK
	case err != nil:
		fmt.Fprintf(stderr, "caracal init: %v\n\n%s", err, initUsage)
		return cli.ExitUsage
	}
	files, err := file.InitFiles(o)
	if err == nil {
		err = file.Init(o)
	}
	if err != nil {
		fmt.Fprintf(stderr, "caracal: %v\n", err)
		return cli.ExitFailed
	}
	for _, f := range files {
		fmt.Fprintln(stdout, "wrote", filepath.Join(o.Dir, f.Path))
	}
	fmt.Fprintln(stdout, "Copy the directory to every host, then start caracald there.")
	return cli.ExitOK
}

func parseInit(args []string) (file.InitOptions, error) {
	var o file.InitOptions
	fs := flag.NewFlagSet("init", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Func("pool", "", func(s string) error {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return errors.New("a pool is a range such as 10.244.0.0/16")
		}
		o.Pools = append(o.Pools, p)
		return nil
	})
	fs.Func("node", "", func(s string) error {
		n, err := file.ParseInitNode(s)
		o.Nodes = append(o.Nodes, n)
		return err
	})
	asn := fs.Uint("asn", 0, "")
	fs.StringVar(&o.Dir, "out", "", "")
	if err := fs.Parse(args); err != nil {
		return o, dashes.Error(err)
	}
	o.ASN = uint32(*asn)
	switch {
	case fs.NArg() > 0:
		return o, fmt.Errorf("%q is not a flag", fs.Arg(0))
	case uint(o.ASN) != *asn:
		return o, fmt.Errorf("--asn %d is more than 32 bits", *asn)
	case len(o.Pools) == 0 || len(o.Nodes) == 0 || o.Dir == "":
		return o, errors.New("--pool, --node and --out must be given")
	}
	return o, nil
}

package cli

// Arg says what kind of word an argument is; what it may look like and how it is
// completed follow from it.
type Arg uint8

// The kinds of [Word.Arg].
const (
	NoArg       Arg = iota // a keyword
	ArgNeighbor            // the name of a neighbor, known to the daemon
	ArgPrefix              // an IP prefix, or an address as a prefix of one
	ArgAddress             // an IP address
	ArgRest                // everything up to the end, for help or an [External]
	ArgName                // any word: the name of a filter, a node or a BGPPeer, a selector
	ArgTime                // a duration such as 30s
	ArgNumber              // an AS number
	ArgHost                // the address of a workload, or its /32 or /128
	ArgAttached            // the name of what was attached
	ArgCount               // a whole number
	ArgLabel               // KEY=VALUE
	ArgPod                 // a workload, as NAMESPACE/NAME or NAME, or an address
	ArgPort                // a port with its protocol: 80/tcp
)

// Word is one word of the command language and what can follow it.
type Word struct {
	// Name is the keyword, or the placeholder of an argument: "PREFIX".
	Name string
	// Help is one line.
	Help string
	Arg  Arg
	// Exact words cannot be shortened: they do what cannot be undone by a glance
	// at the next line.
	Exact bool
	// Runs is the command that has been named once this word is there.
	Runs string
	// Key stores the word (an argument's text, or a keyword's name) among the
	// arguments of the command.
	Key string
	// Next are the words of which one must follow, or with Maybe may.
	Next  []*Word
	Maybe bool
	// Options may follow, in any order and each once. Of those with the same
	// Group only one.
	Options []*Word
	Group   string
	// Many says that an option may be given again, and that what is stored for
	// its argument are all of them: see [Command.Lists].
	Many bool
}

// Grammar returns the language with extra commands added, as the one word whose
// Next are the commands.
func Grammar(extra ...External) *Word {
	root := &Word{Next: []*Word{
		{Name: "show", Help: "look at the state of things", Next: showWords()},
		{Name: "check", Help: "try something out", Next: checkWords()},
		{Name: "explain", Help: "why something is as it is", Exact: true, Next: explainWords()},
		{Name: "enable", Help: "let a disabled neighbor come up again", Next: neighborArg("enable")},
		{Name: "disable", Help: "take a neighbor down until it is enabled", Exact: true, Next: neighborArg("disable")},
		{Name: "restart", Help: "take a neighbor down and let it come up again", Next: neighborArg("restart")},
		{Name: "reload", Help: "exchange routes again without dropping the session", Next: []*Word{
			{Name: "in", Help: "judge everything it announced anew, and choose again", Next: neighborArg("reload-in")},
			{Name: "out", Help: "announce everything to the neighbor again", Next: neighborArg("reload-out")},
		}},
		{Name: "configure", Help: "read the configuration again", Runs: "configure", Options: []*Word{
			{Name: "check", Help: "only say what would change and which sessions would reset", Key: "mode", Group: "mode"},
			{Name: "--from", Help: "with check: a directory that is not in place yet", Exact: true, Next: []*Word{
				{Name: "DIR", Help: "for example /etc/caracal.new", Arg: ArgName, Key: "dir"},
			}},
			{Name: "confirm", Help: "also carry out a large removal that was held", Key: "mode", Group: "mode", Exact: true},
		}},
		{Name: "monitor", Help: "print what happens, as it happens", Runs: "monitor", Options: monitorWords()},
		{Name: "attach", Help: "give a network namespace addresses, a link and routes", Runs: "attach", Options: attachOptions()},
		{Name: "detach", Help: "take away what attach gave", Exact: true, Next: detachWords()},
		{Name: "release", Help: "free an address whose owner is gone", Exact: true, Next: releaseWords()},
		{Name: "cleanup", Help: "list what Caracal has in the kernel, and delete it", Exact: true, Runs: "cleanup", Options: []*Word{
			{Name: "--yes", Help: "delete without asking", Key: "yes", Exact: true},
			{Name: "--stay", Help: "do not end after that, as a Pod of a DaemonSet must not", Key: "stay", Exact: true},
		}},
		{Name: "drain", Help: "move traffic away from this node, as far as its workloads allow", Exact: true, Runs: "drain", Options: []*Word{
			{Name: "--timeout", Help: "how long traffic has to go elsewhere (10s)", Exact: true, Next: []*Word{
				{Name: "TIME", Help: "for example 30s", Arg: ArgTime, Key: "wait"},
			}},
			{Name: "--force", Help: "withdraw the routes of workloads too, and close the sessions", Key: "force", Exact: true},
		}},
		{Name: "undrain", Help: "put this node back into service", Exact: true, Runs: "undrain"},
		{Name: "completion", Help: "print a completion script for a shell", Next: []*Word{
			{Name: "bash", Help: "source <(caracal completion bash)", Runs: "completion", Key: "shell"},
			{Name: "zsh", Help: "source <(caracal completion zsh)", Runs: "completion", Key: "shell"},
			{Name: "fish", Help: "caracal completion fish | source", Runs: "completion", Key: "shell"},
		}},
		{Name: "version", Help: "print the versions of this program and of the daemon", Runs: "version"},
		{Name: "help", Help: "how to use this program, or what can follow some words", Runs: "help", Maybe: true, Next: []*Word{
			{Name: "WORDS", Help: "for example show route", Arg: ArgRest},
		}},
	}}
	for _, x := range extra {
		root.Next = append(root.Next, &Word{Name: x.Name, Help: x.Help, Exact: true, Runs: x.Name, Maybe: true, Next: []*Word{
			{Name: "ARGS", Help: "see caracal " + x.Name + " --help", Arg: ArgRest},
		}})
	}
	return root
}

func showWords() []*Word {
	return []*Word{
		{Name: "status", Help: "the daemon in one page: what works, and what does not and why", Runs: "show status"},
		{Name: "protocols", Help: "the BGP neighbors", Runs: "show protocols", Options: protocolOptions()},
		{Name: "neighbors", Help: "the same as protocols", Runs: "show protocols", Options: protocolOptions()},
		{Name: "bfd", Help: "who watches the neighbors, and how fast", Runs: "show bfd"},
		{Name: "filters", Help: "the BGPFilters and the neighbors they are for", Runs: "show filters", Options: []*Word{
			{Name: "NAME", Help: "only this filter", Arg: ArgName, Key: "name"},
		}},
		{Name: "tor-config", Help: "the configuration of the switch that nodes peer with", Runs: "show tor-config", Options: torOptions()},
		{Name: "route", Help: "paths, whether each is in the kernel, and if not why", Runs: "show route", Options: routeOptions()},
		{Name: "fib", Help: "our routes in the kernel", Runs: "show fib"},
		{Name: "tunnels", Help: "the IPIP device, and who is reached through it", Runs: "show tunnels"},
		{Name: "interfaces", Help: "network interfaces and what is wrong with them", Runs: "show interfaces"},
		{Name: "workloads", Help: "pods, VMs and containers", Runs: "show workloads"},
		{Name: "services", Help: "addresses of Services: what is announced here, and why the rest is not", Runs: "show services", Options: []*Word{
			{Name: "NAME", Help: "only this Service, for example default/web", Arg: ArgName, Key: "service"},
		}},
		{Name: "policy", Help: "the NetworkPolicies, and what each does here", Runs: "show policy", Options: policyOptions()},
		{Name: "sets", Help: "the ipsets of policies", Runs: "show sets", Options: setOptions()},
		{Name: "endpoint", Help: "a workload of this node as its policies have it", Next: endpointWords()},
		{Name: "ipam", Help: "the addresses of containers: how many are in use", Runs: "show ipam", Maybe: true, Next: ipamWords()},
		{Name: "nodes", Help: "the nodes of the cluster", Runs: "show nodes"},
	}
}

func protocolOptions() []*Word {
	return []*Word{
		{Name: "all", Help: "everything that is known of each", Key: "all"},
		{Name: "NAME", Help: "only this neighbor, for example mesh/b", Arg: ArgNeighbor, Key: "name"},
	}
}

func torOptions() []*Word {
	value := func(name, help string, arg Arg, key string) []*Word {
		return []*Word{{Name: name, Help: help, Arg: arg, Key: key}}
	}
	return []*Word{
		{Name: "--node", Help: "for the sessions of one node", Group: "nodes", Next: value("NAME", "for example a", ArgName, "node")},
		{Name: "--selector", Help: "for those of all nodes that it selects", Group: "nodes", Next: value("SELECTOR", `for example "rack == 'r1'"`, ArgName, "selector")},
		{Name: "--format", Help: "whose language", Next: []*Word{
			{Name: "frr", Help: "FRR, as in frr.conf", Key: "format"},
			{Name: "bird", Help: "BIRD 2, to be included in bird.conf", Key: "format"},
			{Name: "eos", Help: "Arista EOS", Key: "format"},
		}},
		{Name: "--peer", Help: "of several switches the one of this BGPPeer", Next: value("NAME", "for example tor", ArgName, "peer")},
		{Name: "--as", Help: "the switch's AS number, where asNumber is external", Next: value("NUMBER", "for example 65001", ArgNumber, "as")},
	}
}

func routeOptions() []*Word {
	named := func(help string) []*Word {
		return []*Word{{Name: "NAME", Help: help, Arg: ArgNeighbor, Key: "neighbor"}}
	}
	return []*Word{
		{Name: "PREFIX", Help: "only this prefix, for example 10.64.1.0/26", Arg: ArgPrefix, Key: "prefix", Group: "what"},
		{Name: "for", Help: "the longest prefix that contains an address", Group: "what", Next: []*Word{
			{Name: "ADDRESS", Help: "for example 10.64.1.7", Arg: ArgAddress, Key: "for"},
		}},
		{Name: "all", Help: "with all attributes and what the kernel answered", Key: "all"},
		{Name: "protocol", Help: "only paths from one neighbor", Group: "from", Next: named("for example mesh/b")},
		{Name: "table", Help: "another table than loc-rib", Group: "from", Next: []*Word{
			{Name: "adj-rib-in", Help: "what neighbors announced", Key: "table", Next: named("only what this one announced"), Maybe: true},
			{Name: "loc-rib", Help: "what is known, refused paths included (the default)", Key: "table", Next: named("only what came from this one"), Maybe: true},
			{Name: "adj-rib-out", Help: "what is announced to a neighbor", Key: "table", Next: named("to this one")},
		}},
	}
}

func neighborArg(runs string) []*Word {
	return []*Word{{Name: "NAME", Help: "the neighbor, for example mesh/b", Arg: ArgNeighbor, Key: "name", Runs: runs}}
}

func monitorWords() []*Word {
	return []*Word{
		{Name: "session", Help: "neighbors that come and go", Key: "session"},
		{Name: "route", Help: "paths that come, go, or are refused", Key: "route"},
		{Name: "fib", Help: "writes to the kernel, and drift", Key: "fib"},
		{Name: "config", Help: "changes of the configuration", Key: "config"},
		{Name: "link", Help: "interfaces and addresses", Key: "link"},
	}
}

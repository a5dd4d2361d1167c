// Package install holds docs/INSTALL.md to its word: its test takes the command
// blocks out of the page and runs them, in order, on two clean hosts that have
// their own network, processes, host name and writable copy of the file system.
// A command that fails, or that prints something else than the page shows, fails
// the test.
//
// The words after "sh" at the head of a block say where it runs:
//
//	sh host=build        in the checkout, on the machine that runs the test
//	sh host=web1,web2    on these hosts, one after the other
//	sh not-run=REASON    nowhere: it needs what a namespace has not, as systemd
//
// A block "text" that follows a run block is what it prints: each of its lines
// must be among the printed ones, any amount of space standing for any other
// and "…" for any text. As the page may say "after a few seconds", the block is
// run again until it matches, for up to two minutes.
package install

// Package uml runs a test binary inside user-mode-linux: a whole Linux kernel as
// one process, with the machine's own files as its root file system. It is for
// what the kernel of a build machine may lack, such as the ipip device. The
// kernel boots in about two seconds, has one processor, a clock of its own and
// no network but what the test makes in it.
//
// A test calls [Test], which boots the kernel and runs the same test there once
// more; [Inside] tells the two runs apart. Without the Debian package
// user-mode-linux, or without root, the test fails rather than being skipped.
package uml

// Package nstest gives tests network namespaces of their own, so that they
// hold code against the real kernel without touching the machine's network.
// A namespace ends with the test that made it; one left by a test binary that
// was killed is removed by the next that runs. Making one needs root: without
// it the test fails, and says so, rather than being skipped.
package nstest

// Package selector parses and evaluates the label selectors of our resources.
// The grammar is the one operators know from Calico: all(), has(key),
// key == 'value', key != 'value', key in {'a', 'b'}, key not in {...},
// key contains 'v', key starts with 'v', key ends with 'v', joined by !, && and
// ||, with parentheses. The package is pure and imports only the standard
// library.
package selector

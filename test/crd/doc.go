// Package crd holds what the API server says of our custom resources to what the
// file store says: both judge the same documents (api/v1/testdata), and an API
// server that runs has the last word. Where the two differ is a list in the tests,
// with the reason.
package crd

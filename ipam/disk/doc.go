// Package disk keeps the records of [ipam.Store] in a directory of one node, so
// that neither a crash nor a bad disk makes an address have two owners.
//
// Each record is a file, with a checksum, that is replaced as a whole. What does
// not fit its checksum is moved to the directory "damaged" and counts as damaged
// until it is written anew, however often the program is restarted: a record
// that is lost is not the same as none.
package disk

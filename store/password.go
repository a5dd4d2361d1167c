package store

import (
	"errors"
	"fmt"
	"strings"
)

// MaxPassword is the longest key of TCP-MD5 in bytes: TCP_MD5SIG_MAXKEYLEN in
// linux/tcp.h.
const MaxPassword = 80

// CheckPassword takes the end of the line off a password, with which editors and
// echo leave it, and says what is wrong with it. No error has a byte of it.
func CheckPassword(text string) (string, error) {
	word := strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	switch {
	case word == "":
		return "", errors.New("it is empty")
	case len(word) > MaxPassword:
		return "", fmt.Errorf("it has more than %d bytes; a password has at most that many", MaxPassword)
	case strings.ContainsFunc(word, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "", errors.New("it has control characters or several lines; a password is one line of text")
	}
	return word, nil
}

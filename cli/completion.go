package cli

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// completeWord is the command that completion scripts call; it is in no help.
const completeWord = "__complete"

// completePatience is how long a Tab waits for the daemon.
const completePatience = 500 * time.Millisecond

// completeForShell prints what the last of words can become, one a line, with
// the help after a Tab character. It never fails: a shell in the middle of a
// line has no use for an error.
func (s *session) completeForShell(ctx context.Context, words []string) int {
	last := ""
	if len(words) > 0 {
		last = words[len(words)-1]
		words = words[:len(words)-1]
	}
	words, err := s.flags.takeFlags(words, s.opts.Commands)
	if err != nil { // the value of a flag is to come
		return ExitOK
	}
	if s.client, err = newClient(s.flags.socket, completePatience); err != nil {
		return ExitOK
	}
	defer s.client.close()
	for _, c := range Complete(s.root, append(words, last), func(a Arg) []Candidate { return s.known(ctx, a) }) {
		fmt.Fprintf(s.opts.Stdout, "%s\t%s\n", c.Name, c.Help)
	}
	if strings.HasPrefix(last, "-") {
		for _, f := range []string{"--output", "--socket", "--timeout", "--help", "--version"} {
			if strings.HasPrefix(f, last) {
				fmt.Fprintf(s.opts.Stdout, "%s\tflag\n", f)
			}
		}
	}
	return ExitOK
}

// completionScript is what `caracal completion SHELL` prints: the scripts hold
// no words themselves, so they never go out of date.
func completionScript(shell string) string {
	switch shell {
	case "bash":
		return bashCompletion
	case "zsh":
		return zshCompletion
	}
	return fishCompletion
}

// Bash cuts words also at ":" and "@", which names of neighbors contain; so the
// words are cut again here, and what bash holds for earlier words is taken off
// the answers.
const bashCompletion = `_caracal() {
  local line="${COMP_LINE:0:COMP_POINT}" IFS=$' \t\n' words cur keep
  read -ra words <<<"$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  cur="${words[${#words[@]}-1]}"
  keep="${cur%"${COMP_WORDS[COMP_CWORD]}"}"
  IFS=$'\n'
  COMPREPLY=($("${words[0]}" ` + completeWord + ` "${words[@]:1}" 2>/dev/null | cut -f1))
  COMPREPLY=("${COMPREPLY[@]#"$keep"}")
}
complete -F _caracal caracal
`

const zshCompletion = `#compdef caracal
_caracal() {
  local -a lines cands
  local line
  lines=("${(@f)$("${words[1]}" ` + completeWord + ` "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  for line in $lines; do
    cands+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
  done
  _describe caracal cands
}
if [[ $funcstack[1] == _caracal ]]; then _caracal "$@"; else compdef _caracal caracal; fi
`

const fishCompletion = `function __caracal_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] ` + completeWord + ` $words[2..-1] 2>/dev/null
end
complete -c caracal -f -a '(__caracal_complete)'
`

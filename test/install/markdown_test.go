package install

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// block is one fenced command block of the page.
type block struct {
	line   int      // of the fence
	hosts  []string // empty for a block that is not run
	script string
	want   []string // lines that it prints; nil if the page does not say
}

// parse finds the command blocks of a page. Every one must say where it runs.
func parse(page string) ([]block, error) {
	var blocks []block
	var fence []string // words after the fence's backticks; nil outside a block
	var body strings.Builder
	start, followed := 0, false
	for i, line := range strings.Split(page, "\n") {
		mark, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && fence == nil:
			fence, start = append([]string{}, strings.Fields(mark)...), i+1
			body.Reset()
		case !isFence && fence != nil:
			body.WriteString(line + "\n")
		case isFence && len(fence) > 0 && fence[0] == "sh":
			hosts, err := hostsOf(fence[1:])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", start, err)
			}
			blocks = append(blocks, block{line: start, hosts: hosts, script: body.String()})
			fence, followed = nil, len(hosts) > 0
		case isFence:
			if len(fence) > 0 && fence[0] == "text" && followed {
				blocks[len(blocks)-1].want = strings.Split(strings.TrimSpace(body.String()), "\n")
			}
			fence, followed = nil, false
		}
	}
	if fence != nil {
		return nil, fmt.Errorf("line %d: block without an end", start)
	}
	return blocks, nil
}

func hostsOf(words []string) ([]string, error) {
	for _, w := range words {
		if list, ok := strings.CutPrefix(w, "host="); ok {
			return strings.Split(list, ","), nil
		}
		if strings.HasPrefix(w, "not-run=") {
			return nil, nil
		}
	}
	return nil, fmt.Errorf("a block of commands must say host=NAME or not-run=REASON")
}

var space = regexp.MustCompile(`\s+`)

// missing returns the lines of want that no line of got matches.
func missing(want []string, got string) []string {
	var lines []string
	for line := range strings.Lines(got) {
		lines = append(lines, strings.TrimSpace(space.ReplaceAllString(line, " ")))
	}
	var left []string
	for _, w := range want {
		pattern := regexp.QuoteMeta(strings.TrimSpace(space.ReplaceAllString(w, " ")))
		re := regexp.MustCompile("^" + strings.ReplaceAll(pattern, "…", ".*") + "$")
		found := false
		for _, line := range lines {
			found = found || re.MatchString(line)
		}
		if !found {
			left = append(left, w)
		}
	}
	return left
}

func TestParse(t *testing.T) {
	page := "# Page\n```sh host=web1,web2\nls\nid\n```\nprints\n```text\nuid=0\n```\n```sh not-run=systemd\nreboot\n```\n```text\nnever\n```\n```yaml\na: b\n```\n"
	blocks, err := parse(page)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("%+v", blocks)
	want := "[{line:2 hosts:[web1 web2] script:ls\nid\n want:[uid=0]} {line:10 hosts:[] script:reboot\n want:[]}]"
	if got != want {
		t.Errorf("parse:\n got %s\nwant %s", got, want)
	}
	for _, bad := range []string{"```sh\nls\n```\n", "```sh host=a\nls\n"} {
		if b, err := parse(bad); err == nil {
			t.Errorf("parse(%q) = %+v, want an error", bad, b)
		}
	}
}

func TestMissing(t *testing.T) {
	got := "name   state\nmesh/web2  Established 3s\n"
	for _, c := range []struct {
		want string
		left int
	}{
		{"name state", 0},
		{"mesh/web2 Established …", 0},
		{"mesh/web2 Idle …", 1},
		{"mesh/web2", 1},
	} {
		if left := missing([]string{c.want}, got); len(left) != c.left {
			t.Errorf("missing(%q) = %q, want %d", c.want, left, c.left)
		}
	}
}

package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestDocs types the commands of the documents, in order, and compares their output. They stand in fenced
// blocks marked console: a line that begins with "$ " is a command, a line that begins with "> " continues it,
// and the lines that follow are the output on stdout and stderr together. There "..." stands for anything, on a
// line of its own for any number of lines; spaces count as one. The directory is like the repository's root,
// with the programs in bin, and the state is new for each document, which has to stop the kernels that it
// starts.
func TestDocs(t *testing.T) {
	var files []string
	for _, glob := range []string{"../*.md", "../docs/*.md", "../examples/*/*.md"} {
		list, err := filepath.Glob(glob)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, list...)
	}
	ran := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		steps := consoleSteps(string(text))
		if len(steps) == 0 {
			continue
		}
		ran++
		name, _ := filepath.Rel("..", file)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			for _, sub := range []string{"examples"} {
				abs, err := filepath.Abs(filepath.Join("..", sub))
				if err == nil {
					err = os.Symlink(abs, filepath.Join(s.dir, sub))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, step := range steps {
				if got := s.shell(step.command); !step.matches(got) {
					t.Fatalf("%s:%d: $ %s\nprints\n%s\nwant\n%s", name, step.line, step.command, got, strings.Join(step.want, "\n"))
				}
			}
		})
	}
	if ran == 0 {
		t.Error("no document has commands to run")
	}
}

// shell runs a line of shell in the site and returns all that it prints, and its exit status if that is
// not 0.
func (s *site) shell(line string) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env = s.dir, s.env()
	cmd.WaitDelay = time.Second // for processes that it leaves in the background
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(&out, err)
	}
	return out.String()
}

// A step is a command in a document, and its expected output.
type step struct {
	line    int
	command string
	want    []string
}

func consoleSteps(text string) []step {
	var steps []step
	inside := false
	for i, line := range strings.Split(text, "\n") {
		command, isCommand := strings.CutPrefix(line, "$ ")
		more, continues := strings.CutPrefix(line, "> ")
		switch {
		case strings.HasPrefix(line, "```"):
			inside = !inside && strings.TrimSpace(line[3:]) == "console"
		case !inside:
		case isCommand:
			steps = append(steps, step{line: i + 1, command: command})
		case len(steps) == 0:
			// Text above the first command: nothing to compare it with.
		case continues && len(steps[len(steps)-1].want) == 0:
			steps[len(steps)-1].command += "\n" + more
		default:
			steps[len(steps)-1].want = append(steps[len(steps)-1].want, line)
		}
	}
	return steps
}

var spaces = regexp.MustCompile(`[ \t]+`)

// matches compares the output of a command with the document.
func (s step) matches(got string) bool {
	pattern := `^`
	for _, line := range s.want {
		if strings.TrimSpace(line) == "..." {
			pattern += `(.*\n)*`
			continue
		}
		line = regexp.QuoteMeta(strings.TrimSpace(spaces.ReplaceAllString(line, " ")))
		pattern += strings.ReplaceAll(line, `\.\.\.`, `.*`) + `\n`
	}
	var flat strings.Builder
	for line := range strings.Lines(got) {
		flat.WriteString(strings.TrimSpace(spaces.ReplaceAllString(line, " ")) + "\n")
	}
	return regexp.MustCompile(pattern + `$`).MatchString(flat.String())
}

func TestDocsMatcher(t *testing.T) {
	doc := "text\n```console\n$ one\nx\n...\ny ... z\n$ two \\\n> three\n```\n```sh\n$ no\n```\n"
	steps := consoleSteps(doc)
	if len(steps) != 2 || steps[0].line != 3 || steps[1].command != "two \\\nthree" {
		t.Fatalf("got %+v", steps)
	}
	for got, want := range map[string]bool{
		"x\ny 1 z\n":          true,
		"x\n1\n2\n  y   z \n": false,
		"x\n1\n2\ny   1  z\n": true,
		"x\ny 1 z\nmore\n":    false,
		"x\n":                 false,
	} {
		if steps[0].matches(got) != want {
			t.Errorf("%q: got %v", got, !want)
		}
	}
	if !steps[1].matches("") || steps[1].matches("x\n") {
		t.Error("a command without output is to print nothing")
	}
}

package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Every command and every flag is in docs/cli.md.
func TestDocumentNamesEveryCommandAndFlag(t *testing.T) {
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(text)
	flag := regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z-]+)`)
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			visit(c)
		}
		if cmd.Hidden || !cmd.HasParent() || len(cmd.Commands()) > 0 {
			return
		}
		// The subcommands of one share a heading: kernel poisoned ls, retry ID, drop ID.
		words := strings.Fields(cmd.CommandPath())
		if !regexp.MustCompile("`"+strings.Join(words[:2], " ")+`\b`).MatchString(doc) || !strings.Contains(doc, words[len(words)-1]) {
			t.Errorf("docs/cli.md does not say anything about %s", cmd.CommandPath())
		}
		for _, m := range flag.FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) { // hidden ones are not in it
			if !strings.Contains(doc, "`--"+m[1]) && !strings.Contains(doc, " --"+m[1]) {
				t.Errorf("docs/cli.md does not say anything about --%s of %s", m[1], cmd.CommandPath())
			}
		}
	}
	visit((&app{}).root())
}

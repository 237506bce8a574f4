package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ocapkernel.dev/control"
)

// completionPatience bounds the wait of a shell for suggestions: a person has pressed a key.
const completionPatience = 500 * time.Millisecond

// suggest asks the running kernel for words, each with a tab and a description if it has one. Without a running
// kernel there are none: a shell has no place for an error.
type suggest func(context.Context, *control.Client) ([]string, error)

// suggestions calls the given functions, one after the other, and returns their words.
func (a *app) suggestions(ctx context.Context, prefix string, from ...suggest) (words []string) {
	dir, err := a.stateDir()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, completionPatience)
	defer cancel()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		return nil
	}
	defer client.Close()
	for _, f := range from {
		found, err := f(ctx, client)
		if err != nil {
			return words
		}
		for _, word := range found {
			if strings.HasPrefix(word, prefix) {
				words = append(words, printableWord(word))
			}
		}
	}
	return words
}

// printableWord makes a suggestion safe for a terminal: all but the tab that ends the word.
func printableWord(s string) string {
	word, description, described := strings.Cut(s, "\t")
	if !described {
		return printable(word)
	}
	return printable(word) + "\t" + printable(description)
}

// completeArg completes a command's first argument, and no other.
func (a *app) completeArg(cmd *cobra.Command, from ...suggest) *cobra.Command {
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return a.suggestions(cmd.Context(), prefix, from...), cobra.ShellCompDirectiveNoFileComp
	}
	return cmd
}

// completeFile completes a command's first argument with files, and no other.
func completeFile(cmd *cobra.Command) *cobra.Command {
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return nil, cobra.ShellCompDirectiveDefault
	}
	return cmd
}

// completeFlag completes the value of a flag.
func (a *app) completeFlag(cmd *cobra.Command, flag string, from ...suggest) {
	registered(cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, prefix string) ([]string, cobra.ShellCompDirective) {
		return a.suggestions(cmd.Context(), prefix, from...), cobra.ShellCompDirectiveNoFileComp
	}))
}

// completeFlagWith completes the value of a flag with fixed words.
func completeFlagWith(cmd *cobra.Command, flag string, words ...string) {
	registered(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)))
}

// registered panics if a flag was completed before it was registered.
func registered(err error) {
	if err != nil {
		panic("kernel: " + err.Error())
	}
}

// vatNames returns each vat's id, and each name that belongs to one vat only.
func vatNames(ctx context.Context, client *control.Client) ([]string, error) {
	vats, err := client.PS(ctx)
	var words []string
	for _, v := range vats {
		words = append(words, v.Subcluster+"/"+v.Name+"\t"+v.ID+", "+string(v.State))
	}
	return words, err
}

func vatIDs(ctx context.Context, client *control.Client) ([]string, error) {
	vats, err := client.PS(ctx)
	var words []string
	for _, v := range vats {
		words = append(words, v.ID+"\t"+v.Name+" of "+v.Subcluster+", "+string(v.State))
	}
	return words, err
}

func subclusterIDs(ctx context.Context, client *control.Client) ([]string, error) {
	status, err := client.Status(ctx)
	var words []string
	for _, s := range status.Clusters {
		words = append(words, s.ID+"\t"+origin(s))
	}
	return words, err
}

func rootKRefs(ctx context.Context, client *control.Client) ([]string, error) {
	status, err := client.Status(ctx)
	var words []string
	for _, s := range status.Clusters {
		words = append(words, s.Root+"\troot of "+s.ID+", "+origin(s))
	}
	return words, err
}

func systemNames(ctx context.Context, client *control.Client) ([]string, error) {
	systems, err := client.System(ctx)
	var words []string
	for _, s := range systems {
		words = append(words, s.Name+"\tsystem subcluster, "+string(s.State))
	}
	return words, err
}

func poisonedIDs(ctx context.Context, client *control.Client) ([]string, error) {
	list, _, err := client.PoisonedList(ctx, "", 0)
	var words []string
	for _, p := range list {
		words = append(words, p.ID+"\t"+p.Target+"."+p.Method+" for "+p.Vat)
	}
	return words, err
}

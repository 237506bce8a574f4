package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// usageError is a command line that makes no sense. It is found without asking a kernel, so that the exit
// status of a mistake does not depend on whether one runs.
type usageError struct {
	message, hint string
	// cause, if it is not nil, is the error with the code that a kernel would have answered with.
	cause error
}

func (e *usageError) Error() string { return e.message }

func (e *usageError) Unwrap() error { return e.cause }

func usagef(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &usageError{message: err.Error(), cause: errors.Unwrap(err)}
}

// hinted is an error with the next command to type.
type hinted struct {
	error
	hint string
}

func (e *hinted) Unwrap() error { return e.error }

// exactly demands the named arguments.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		message := "missing argument " + strings.Join(names[min(len(args), len(names)):], ", ")
		if len(args) > len(names) {
			message = fmt.Sprintf("unexpected argument %q", args[len(names)])
		}
		return &usageError{message: message, hint: cmd.CommandPath() + " --help"}
	}
}

// one demands one argument that check accepts.
func one(name string, check func(string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := exactly(name)(cmd, args); err != nil {
			return err
		}
		if err := check(args[0]); err != nil {
			return &usageError{err.Error(), cmd.CommandPath() + " --help", err}
		}
		return nil
	}
}

// atMostOne allows one argument that check accepts.
func atMostOne(name string, check func(string) error) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return one(name, check)(cmd, args)
	}
}

// group makes a command of those below it: by itself it prints its help.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = commandOf
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// commandOf refuses the arguments of a command that has others below it: they name none of those.
func commandOf(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	e := &usageError{message: fmt.Sprintf("unknown command %q for %q", args[0], cmd.CommandPath()), hint: cmd.CommandPath() + " --help"}
	if !cmd.HasParent() {
		e.hint = "kernel help"
	}
	if near := similar(cmd, args[0]); len(near) > 0 {
		e.hint = cmd.CommandPath() + " " + strings.Join(near, ", or "+cmd.CommandPath()+" ")
	}
	return e
}

// similar lists the commands below cmd that a person may have meant by word.
func similar(cmd *cobra.Command, word string) []string {
	cmd.SuggestionsMinimumDistance = 2
	const most = 3
	near := cmd.SuggestionsFor(word)
	return near[:min(len(near), most)]
}

// setHelp makes help of a command that does not exist a mistake like the command itself.
func (a *app) setHelp(root *cobra.Command) {
	root.InitDefaultHelpFlag()
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		if words := cmd.Flags().Args(); cmd.HasSubCommands() && len(words) > 0 && cmd != a.helped {
			a.helpErr = commandOf(cmd, words)
			return
		}
		help(cmd, args)
	})
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND…]",
		Short: "Say more about a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, words []string) error {
			cmd, rest, err := root.Find(words)
			if err != nil {
				return commandOf(root, words)
			}
			if len(rest) > 0 {
				if cmd.HasSubCommands() {
					return commandOf(cmd, rest)
				}
				return exactly()(cmd, rest)
			}
			a.helped = cmd
			return cmd.Help()
		},
		ValidArgsFunction: func(_ *cobra.Command, words []string, _ string) ([]string, cobra.ShellCompDirective) {
			cmd, _, err := root.Find(words)
			var names []string
			if err == nil {
				for _, c := range cmd.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, c.Name()+"\t"+c.Short)
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
	})
}

// checkTimeout refuses a time to wait that is no positive duration, for all commands alike.
func checkTimeout(cmd *cobra.Command) error {
	f := cmd.Flags().Lookup("timeout")
	if f == nil || f.Value.Type() != "duration" {
		return nil
	}
	if d, err := time.ParseDuration(f.Value.String()); err == nil && d <= 0 {
		message := "--timeout must be above zero"
		if cmd.Flags().Lookup("no-wait") != nil {
			message += "; to wait for nothing, use --no-wait"
		}
		return &usageError{message: message, hint: cmd.CommandPath() + " --help"}
	}
	return nil
}

// numbersAreNoFlags lets a negative number be an argument, as in kernel send s1 add -5: no flag begins so.
// JSON may begin with a space.
func numbersAreNoFlags(args []string) []string {
	out := slices.Clone(args)
	for i, arg := range out {
		if strings.HasPrefix(arg, "-") && json.Valid([]byte(arg)) {
			out[i] = " " + arg
		}
	}
	return out
}

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ocapkernel.dev/internal/statedir"
)

// confirm asks a person for confirmation of the command. Without a terminal the flag --yes has to be given: a
// script that was written for another version, or with an empty variable, deletes nothing.
func (a *app) confirm(yes bool, what, command string) error {
	if yes {
		return nil
	}
	if !a.terminal() {
		return &usageError{message: "this would " + what + "; say so, if that is meant", hint: a.typed() + " " + command + " --yes"}
	}
	return a.askPerson(what)
}

// confirmAtTerminal is confirm for a command that can have no other meaning, and concerns one thing that it
// names: it asks only at a terminal.
func (a *app) confirmAtTerminal(yes bool, what string) error {
	if yes || !a.terminal() {
		return nil
	}
	return a.askPerson(what)
}

// confirmReset is confirm for run and start --reset. They need no confirmation for a state that no kernel has
// written to.
func (a *app) confirmReset(f *runFlags, dir, command string, args []string) error {
	if !f.reset {
		return nil
	}
	written, err := statedir.Written(dir, isLog)
	if err != nil || !written {
		return err
	}
	command += " --reset"
	if len(args) > 0 {
		command += " " + shellQuote(args[0])
	}
	return a.confirm(f.yes, "delete all that is stored in "+dir, command)
}

func (a *app) askPerson(what string) error {
	fmt.Fprintf(a.stderr, "This would %s. Go on? Type yes: ", printable(what))
	answer, err := readLine(a.stdin)
	if strings.TrimSpace(answer) == "yes" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(a.stderr)
	}
	return errors.New("not confirmed: nothing is done")
}

// readLine reads a line and no byte behind it: the rest is for the kernel's console.
func readLine(r io.Reader) (string, error) {
	var line strings.Builder
	for one := make([]byte, 1); ; {
		n, err := r.Read(one)
		if n > 0 && one[0] == '\n' {
			return line.String(), nil
		}
		line.Write(one[:n])
		if err != nil {
			return line.String(), err
		}
	}
}

// terminal reports whether there is a person to ask.
func (a *app) terminal() bool {
	for _, end := range []any{a.stdin, a.stderr} {
		f, ok := end.(*os.File)
		if !ok {
			return false
		}
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return false
		}
	}
	return true
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// confirm asks a person whether what a command is about to do is meant. Where nobody can be asked, the flag --yes has to
// say so: a script that was written for another version, or with an empty variable, deletes nothing.
func (a *app) confirm(yes bool, what, command string) error {
	if yes {
		return nil
	}
	if !a.terminal() {
		return &usageError{message: "this would " + what + "; say so, if that is meant", hint: a.typed() + " " + command + " --yes"}
	}
	return a.askPerson(what)
}

// confirmAtTerminal is confirm for a command whose name and argument say already what is deleted: only a person is asked.
func (a *app) confirmAtTerminal(yes bool, what string) error {
	if yes || !a.terminal() {
		return nil
	}
	return a.askPerson(what)
}

func (a *app) askPerson(what string) error {
	fmt.Fprintf(a.stderr, "This would %s. Go on? Type yes: ", printable(what))
	answer, err := bufio.NewReader(a.stdin).ReadString('\n')
	if strings.TrimSpace(answer) == "yes" {
		return nil
	}
	if err != nil {
		fmt.Fprintln(a.stderr)
	}
	return errors.New("not confirmed: nothing is done")
}

// terminal says whether there is a person to ask.
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

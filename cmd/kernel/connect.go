package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"ocapkernel.dev/control"
	"ocapkernel.dev/errcode"
	"ocapkernel.dev/internal/statedir"
)

// patience bounds the wait for an answer that needs no vat. A kernel that is held by a debugger, say, must not
// hang its clients.
const patience = 10 * time.Second

// noLimit lets a command wait for the kernel as long as it takes.
const noLimit time.Duration = -1

// ask connects to the kernel of this state and calls do, which may take as long as limit and the patience that
// this side adds.
func (a *app) ask(ctx context.Context, limit time.Duration, do func(context.Context, *control.Client) error) error {
	dir, err := a.stateDir()
	if err != nil {
		return err
	}
	if limit != noLimit {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit+a.patience)
		defer cancel()
	}
	client, err := a.reach(ctx, dir)
	if control.CodeOf(err) == errcode.NotRunning {
		held, lookErr := statedir.Holder(dir)
		switch {
		case lookErr != nil:
			return lookErr // a kernel may well run
		case held.Kernel:
			return &hinted{err, fmt.Sprintf("its process (pid %s) is there, though: it starts, or stops, or its socket was removed", held.PID)}
		case held.Read:
			return &hinted{err, statedir.BeingRead(dir).Error() + "\nwhen that is over, start a kernel with: " + a.typed() + " start CONFIG"}
		}
		return &hinted{err, "start one with: " + a.typed() + " start CONFIG"}
	}
	if err != nil {
		return err
	}
	defer client.Close()
	return orSilent(dir, do(ctx, client))
}

// reach connects to the kernel that runs at dir, and has it answer a request that needs no vat. A kernel that
// is held by a signal or a debugger takes connections and answers nothing: it is given up after patience,
// however long the command would wait. The error is errcode.NotRunning if none runs. The caller closes the client.
func (a *app) reach(ctx context.Context, dir string) (*control.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, a.patience)
	defer cancel()
	client, err := control.Dial(ctx, dir)
	if err != nil {
		return nil, orSilent(dir, err)
	}
	if _, err := client.Version(ctx); err != nil {
		return nil, orSilent(dir, errors.Join(err, client.Close()))
	}
	return client, nil
}

// orSilent returns the error that the kernel at dir does not answer, if err is that the time was up, else err.
func orSilent(dir string, err error) error {
	if !timedOut(err) {
		return err
	}
	held, lookErr := statedir.Holder(dir)
	switch {
	case lookErr != nil:
		return errors.Join(err, lookErr)
	case !held.Kernel:
		return control.Errorf(errcode.Timeout, "the kernel that was asked did not answer, and is gone")
	}
	return &hinted{
		control.Errorf(errcode.Timeout, "the kernel (pid %s) does not answer", held.PID),
		fmt.Sprintf("it may be stopped or overloaded; kill -KILL %s is safe: what was accepted is not lost", held.PID),
	}
}

// timedOut reports whether err is that the time was up, of a context or of a connection.
func timedOut(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

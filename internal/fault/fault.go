// Package fault marks the places of a program at which a test has the process die by SIGKILL.
//
// A place is a call of [Point], with a [Name] that no other place has. In a program that is built without the tag faults
// Point is empty, and the compiler leaves nothing of the call. With the tag, two variables of the environment decide:
//
//   - KERNEL_FAULT_LOG names a directory. Each pass of a point adds a byte to the file of its name there. All processes that
//     are given the same directory, one after the other or at the same time, count together. If the variable is not set,
//     points do nothing.
//   - KERNEL_FAULT is a list, with commas, of NAME:K. The process that makes the K-th pass of that point kills itself. Since
//     no later process makes the K-th pass again, one death comes of each member of the list.
//
// A kernel hands both to its workers ([Env]). Points of workers have names of their own.
package fault

// The variables of the environment.
const (
	Variable    = "KERNEL_FAULT"
	LogVariable = "KERNEL_FAULT_LOG"
)

// Package enumeration has no code but its tests. They run short scenarios of a whole shell, with vats in memory, and let the
// kernel die before and after each of its commits, and each worker at each of its frames, also twice in a row.
package enumeration

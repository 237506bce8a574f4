// Package archtest enforces rules that no linter has: which package may import which, which functions the
// kernel's state machine must not call, that switches over closed sets are complete, and how files and tests
// are kept.
//
// Its tests run the rules over this module. The import table is data, in table.go, and ARCHITECTURE.md shows
// it; a new package adds its row in the same change. The rules themselves are tested on a module in testdata,
// in which every breach is marked by a comment.
//
// Packages are type-checked here, with their imports read from the compiler's export data, so that a rule sees
// types and not spellings: a range over a map is found by the type of its operand.
package archtest

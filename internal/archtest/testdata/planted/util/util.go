// Package util has no row in the table, and a bad name.
package util

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"ocapkernel.dev/control"
)

// sendArgs reads the arguments of a call: JSON, @FILE for the JSON in a file, and - for the JSON on stdin,
// which may be longer than the system allows in one word of a command line (128 KiB).
func (a *app) sendArgs(words []string) ([]json.RawMessage, error) {
	var args []json.RawMessage
	if first := slices.Index(words, "-"); first >= 0 {
		if second := slices.Index(words[first+1:], "-"); second >= 0 {
			return nil, usagef("arguments %d and %d are -: stdin can be read once", first+1, first+second+2)
		}
	}
	for i, word := range words {
		text, from, err := []byte(word), "", error(nil)
		switch path, file := strings.CutPrefix(word, "@"); {
		case word == "-":
			from = "stdin"
			text, err = readArg(a.stdin)
		case file:
			from = path
			text, err = readArgFile(path)
		}
		var wrong *usageError
		switch {
		case errors.As(err, &wrong):
			return nil, usagef("argument %d: %s: %v", i+1, from, err)
		case err != nil:
			return nil, fmt.Errorf("argument %d: %w", i+1, err)
		case json.Valid(text):
			args = append(args, bytes.TrimSpace(text))
		case from != "":
			return nil, usagef("argument %d is not JSON: what is in %s", i+1, printable(from))
		default:
			message := fmt.Sprintf("argument %d is not JSON: %s", i+1, printable(word))
			return nil, &usageError{message: message, hint: "a string needs quotes of its own: " + shellQuote(quoteJSON(word))}
		}
	}
	return args, nil
}

func readArgFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() // only read
	return readArg(f)
}

// readArg reads no more than a request may have.
func readArg(r io.Reader) ([]byte, error) {
	if r == nil {
		return nil, errors.New("there is no stdin")
	}
	text, err := io.ReadAll(io.LimitReader(r, control.MaxLineBytes+1))
	if err == nil && len(text) > control.MaxLineBytes {
		return nil, usagef("it has more than %d bytes", control.MaxLineBytes)
	}
	return text, err
}

// quoteJSON returns a JSON string of a word that was probably meant as one.
func quoteJSON(word string) string {
	text, err := json.Marshal(word)
	if err != nil {
		return `""`
	}
	return string(text)
}

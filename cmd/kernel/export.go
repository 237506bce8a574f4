package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"ocapkernel.dev/kernel"
	"ocapkernel.dev/storage/backup"
)

func (a *app) exportCommand() *cobra.Command {
	var from string
	cmd := a.withJSON(&cobra.Command{
		Use:   "export",
		Short: "Print every row of the state, as JSON for reading",
		Long: `Print everything that is stored, as it is at one moment, for people and their tools: one JSON object on each line,
first the header, then each row with its key and its fields, as docs/schema.md names them. It works with a running kernel,
which goes on meanwhile, with a stopped one, and with a backup. No state can be made of it: that is what kernel backup is for.`,
		Example: `  kernel export --json | jq 'select(.row == "o.<ko>")'
  kernel export --json --from bank.backup`,
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" {
				return a.withBackup(cmd.Context(), "", a.export)
			}
			f, err := os.Open(from)
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // only read
			return a.export(f)
		},
	})
	cmd.Flags().StringVar(&from, "from", "", "`FILE` that kernel backup has written, in the place of the state")
	registered(cmd.MarkFlagFilename("from"))
	return cmd
}

// export prints the rows of a backup.
func (a *app) export(in io.Reader) error {
	r, err := backup.NewReader(in)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(a.stdout, 256<<10)
	if err := printLine(out, map[string]any{"header": r.Header()}); err != nil {
		return err
	}
	for {
		key, value, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out.Flush()
		}
		if err != nil {
			return errors.Join(err, out.Flush())
		}
		if err := printLine(out, exported(key, value)); err != nil {
			return err
		}
	}
}

// printLine prints a value as a line of JSON.
func printLine(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(append(printableJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), '\n'))
	return err
}

// exportedRow is the line of a row.
type exportedRow struct {
	Key any `json:"key"`
	// Row is the form of the key, of a row with fields.
	Row    string  `json:"row,omitempty"`
	Fields *fields `json:"fields,omitempty"`
	// Value is the value of a row without fields.
	Value any `json:"value,omitempty"`
	// Problem says why a row cannot be read as what it is; then Value is the whole of it.
	Problem string `json:"problem,omitempty"`
}

// fields is a JSON object whose members have an order.
type fields []kernel.Field

// MarshalJSON implements [json.Marshaler].
func (f *fields) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, field := range *f {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := marshal(field.Name)
		if err != nil {
			return nil, err
		}
		v := field.Value
		if raw, ok := v.([]byte); ok {
			v = text(raw)
		}
		value, err := marshal(v)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

// marshal is json.Marshal, which would escape signs of HTML.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// exported describes a row.
func exported(key string, value []byte) exportedRow {
	out := exportedRow{Key: text([]byte(key))}
	d, err := kernel.DescribeRow(key, value)
	switch {
	case err != nil:
		out.Problem, out.Value = err.Error(), text(value)
	case d.IsNumber:
		out.Value = d.Number
	case d.Fields != nil:
		out.Row, out.Fields = d.Form, (*fields)(&d.Fields)
	default:
		out.Value = text(value)
	}
	return out
}

// text returns bytes as a string if they are text, and as {"base64":…} if they are not.
func text(b []byte) any {
	if utf8.Valid(b) {
		return string(b)
	}
	return map[string][]byte{"base64": b}
}

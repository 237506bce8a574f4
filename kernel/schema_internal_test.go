package kernel

import (
	"flag"
	"os"
	"strings"
	"testing"
)

// docs/schema.md names the fields of each row as the row itself does. `make rewrite` puts them there.
func TestSchemaNamesTheFieldsOfRows(t *testing.T) {
	t.Parallel()
	rows := map[string]func(*codec){}
	for _, form := range rowForms {
		rows[form.key] = form.fields()
	}
	const file = "../docs/schema.md"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := flag.Lookup("rewrite").Value.String() == "true"
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		cells := strings.Split(line, " | ")
		key := strings.Trim(cells[0], "| `")
		fields := rows[key]
		if len(cells) < 3 || fields == nil {
			continue
		}
		delete(rows, key)
		want := newCodec().describe(fields)
		if cells[1] == want {
			continue
		}
		if !rewrite {
			t.Errorf("%s, line %d: the fields of %s are\n%s\nand not\n%s\nRun make rewrite, and read the diff.", file, i+1, key, want, cells[1])
		}
		cells[1] = want
		lines[i] = strings.Join(cells, " | ")
	}
	for key := range rows {
		t.Errorf("%s has no line with the fields of %s", file, key)
	}
	if rewrite {
		if err := os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

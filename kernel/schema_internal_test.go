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
	rows := map[string]func(*codec){
		"v.<vat>":              new(vatRow).fields,
		"r.<vat>":              new(run).fields,
		"q.<vat>.<n>":          new(item).fields,
		"y.<vat>.<span>.<n>":   new(exchange).fields,
		"z.<vat>.<span>.<key>": new(former).fields,
		"x.<vat>.<n>":          new(poisoned).fields,
		"exit.<vat>":           new(exit).fields,
		"o.<ko>":               new(object).fields,
		"p.<kp>":               new(promise).fields,
		"b.<kp>":               new(answer).fields,
		"m.<kp>.<n>":           new(message).fields,
		"u.<sub>":              new(subcluster).fields,
		"result.<sub>":         new(answer).fields,
		"t.<ticket>":           new(ticket).fields,
		"h.<sub>":              new(config).fields,
		"k.<ko>":               new(service).fields,
		"i.<ko>.<n>":           new(item).fields,
		"a.<ko>.<n>":           new(serviceCall).fields,
		"j.<ko>.c<class>.<n>":  new(unit).fields,
		"work":                 new(workRange).fields,
		"w.<n>":                new(work).fields,
		"search":               new(search).fields,
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

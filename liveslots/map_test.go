package liveslots_test

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"testing"

	"ocapkernel.dev/vat"
)

type Tables struct {
	vat.Durable
	Words   vat.Map[string, int]
	Numbers vat.Map[int8, string]
	Big     vat.Map[uint64, []string]
	Items   vat.Map[*Item, string]
	Refs    vat.Map[vat.Ref, *Item]
	Mixed   vat.Map[string, any]
	Sub     *Sub
}

type Sub struct {
	vat.Durable
	Words vat.Map[string, int]
}

func NewTables() *Tables { return &Tables{Sub: &Sub{}} }

func (l *Tables) Set(ctx context.Context, word string, n int) error { return l.Words.Set(ctx, word, n) }

func (l *Tables) Get(ctx context.Context, word string) string {
	n, ok := l.Words.Get(ctx, word)
	return fmt.Sprint(n, ok, l.Words.Has(ctx, word))
}

func (l *Tables) Delete(ctx context.Context, word string) { l.Words.Delete(ctx, word) }

func (l *Tables) List(ctx context.Context) string { return list(l.Words.All(ctx)) }

func (l *Tables) After(ctx context.Context, word string) string {
	return list(l.Words.After(ctx, word))
}

func list[K comparable, V any](seq iter.Seq2[K, V]) string {
	var b strings.Builder
	for k, v := range seq {
		fmt.Fprintf(&b, "%v=%v ", k, v)
	}
	return strings.TrimSpace(b.String())
}

// Change changes the table while it is iterated over.
func (l *Tables) Change(ctx context.Context) (string, error) {
	var b strings.Builder
	for k := range l.Words.All(ctx) {
		b.WriteString(k)
		switch k {
		case "a":
			l.Words.Delete(ctx, "b")
			if err := l.Words.Set(ctx, "bb", 1); err != nil {
				return "", err
			}
			if err := l.Words.Set(ctx, "A", 1); err != nil { // behind
				return "", err
			}
		case "bb":
			l.Words.Delete(ctx, "bb")
		}
	}
	return b.String(), nil
}

func (l *Tables) Integers(ctx context.Context) (string, error) {
	for _, n := range []int8{5, -128, 127, 0, -1} {
		if err := l.Numbers.Set(ctx, n, fmt.Sprint("n", n)); err != nil {
			return "", err
		}
	}
	for _, n := range []uint64{1 << 63, 0, 9} {
		if err := l.Big.Set(ctx, n, []string{"x"}); err != nil {
			return "", err
		}
	}
	return list(l.Numbers.All(ctx)) + "; " + list(l.Big.All(ctx)), nil
}

func (l *Tables) Objects(ctx context.Context) error {
	for _, name := range []string{"p", "q"} {
		it := &Item{Name: name}
		if err := l.Items.Set(ctx, it, "is "+name); err != nil {
			return err
		}
		if err := l.Refs.Set(ctx, vat.RefOf(ctx, it), it); err != nil {
			return err
		}
	}
	return l.Sub.Words.Set(ctx, "sub", 1)
}

func (l *Tables) ShowObjects(ctx context.Context) string {
	var b strings.Builder
	for it, text := range l.Items.All(ctx) {
		fmt.Fprint(&b, it.Name, " ", text, "; ")
	}
	for ref, it := range l.Refs.All(ctx) {
		local, _ := vat.Local[*Item](ctx, ref)
		fmt.Fprint(&b, it.Name, local == it, "; ")
	}
	return b.String() + list(l.Sub.Words.All(ctx))
}

func (l *Tables) Promise(ctx context.Context) string {
	p, _ := vat.NewPromise(ctx)
	return fmt.Sprint(l.Mixed.Set(ctx, "p", p), " ", l.Mixed.Has(ctx, "p"))
}

func TestMap(t *testing.T) {
	k := launch(t, NewTables)
	want(t, k, `"0 false false"`, "lab", "get", `"a"`)
	want(t, k, `""`, "lab", "list")
	for i, word := range []string{"b", "a", "c", "ab", "%", "é", "\x01x"} {
		call(t, k, "lab", "set", fmt.Sprintf(`"%s"`, strings.ReplaceAll(word, "\x01", `\u0001`)), fmt.Sprint(i))
	}
	for range 2 {
		want(t, k, `"1 true true"`, "lab", "get", `"a"`)
		want(t, k, `"\u0001x=6 %=4 a=1 ab=3 b=0 c=2 é=5"`, "lab", "list")
		want(t, k, `"ab=3 b=0 c=2 é=5"`, "lab", "after", `"a"`)
		want(t, k, `"b=0 c=2 é=5"`, "lab", "after", `"az"`)
		k.Restart("lab")
	}
	call(t, k, "lab", "delete", `"\u0001x"`)
	call(t, k, "lab", "delete", `"nothing"`)
	want(t, k, `"%aabbbcé"`, "lab", "change")
	want(t, k, `"%=4 A=1 a=1 ab=3 c=2 é=5"`, "lab", "list")
	want(t, k, `"-128=n-128 -1=n-1 0=n0 5=n5 127=n127; 0=[x] 9=[x] 9223372036854775808=[x]"`, "lab", "integers")
	call(t, k, "lab", "objects")
	k.Restart("lab")
	want(t, k, `"p is p; q is q; ptrue; qtrue; sub=1"`, "lab", "showObjects")
	want(t, k, `"the value cannot be saved: a promise lives in memory and cannot be saved false"`, "lab", "promise")
}

// Keys come from other vats; none may break the vat.
func TestHostileKeys(t *testing.T) {
	k := launch(t, NewTables)
	want(t, k, `{"$undefined":true}`, "lab", "set", `"\ud800"`, "1")
	want(t, k, `"1 true true"`, "lab", "get", `"\ud800"`)
	want(t, k, `"\ud800=1"`, "lab", "list")
	want(t, k, `{"$undefined":true}`, "lab", "set", `""`, "2")
	want(t, k, `"2 true true"`, "lab", "get", `""`)
	long := `"` + strings.Repeat("k", 1001) + `"`
	want(t, k, "error: a key of 1001 bytes: the limit is 1000", "lab", "set", long, "3")
	want(t, k, `"0 false false"`, "lab", "get", long)
}

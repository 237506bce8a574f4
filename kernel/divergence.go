package kernel

import (
	"fmt"
	"strings"

	"ocapkernel.dev/wire"
)

// Divergence says that the replay of a crank differs from its record.
type Divergence struct {
	// Delivery is the number of the delivery, What its description.
	Delivery uint64
	What     string
	// Recorded and Came describe the first syscall, or the outcome, that differs.
	Recorded, Came string
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("delivery %d (%s) was recorded with %s, and replayed with %s", d.Delivery, d.What, d.Recorded, d.Came)
}

// divergence finds the first difference, in words for the author of the vat.
func (r *transcriptRecord) divergence(came wire.Done) *Divergence {
	d := &Divergence{Delivery: r.deliver.Number, What: DescribeDelivery(r.deliver.Delivery)}
	d.Recorded, d.Came = "a frame too large to be kept", fmt.Sprintf("%d syscalls", len(came.Syscalls))
	if !r.whole {
		return d
	}
	was := r.done
	if came.Outcome.Fault != "" { // the syscalls of a fault are not applied
		d.Recorded, d.Came = fmt.Sprintf("%d syscalls", len(was.Syscalls)), "fault: "+clip(came.Outcome.Fault)
		return d
	}
	for i := range max(len(was.Syscalls), len(came.Syscalls)) {
		a, b := "no further syscall", "no further syscall"
		if i < len(was.Syscalls) {
			a = describeSyscall(was.Syscalls[i])
		}
		if i < len(came.Syscalls) {
			b = describeSyscall(came.Syscalls[i])
		}
		if a != b {
			a, b = clipAtDifference(a, b)
			d.Recorded, d.Came = fmt.Sprintf("syscall %d: %s", i, a), fmt.Sprintf("syscall %d: %s", i, b)
			return d
		}
	}
	d.Recorded = fmt.Sprintf("outcome %+v", was.Outcome)
	d.Came = fmt.Sprintf("outcome %+v", came.Outcome)
	return d
}

// DescribeDelivery tells a delivery in a line, its data cut to a length, for the author of the vat.
func DescribeDelivery(d wire.Delivery) string {
	switch d := d.(type) {
	case wire.StartVat:
		return "start"
	case wire.Call:
		return "message to " + string(d.Target) + ": " + clip(d.Message.MethArgs.Body)
	case wire.Notify:
		return fmt.Sprintf("notification of %s", d.Resolutions[0].Promise)
	case wire.BringOutYourDead, wire.DropExports, wire.RetireExports, wire.RetireImports:
		return strings.TrimPrefix(fmt.Sprintf("%T", d), "wire.")
	}
	panic(fmt.Sprintf("kernel: unknown delivery %T", d))
}

// DescribeSyscall tells a syscall in a line, its data cut to a length, for the author of the vat.
func DescribeSyscall(s wire.Syscall) string { return clip(describeSyscall(s)) }

func describeSyscall(s wire.Syscall) string {
	if set, ok := s.(wire.StoreSet); ok {
		return fmt.Sprintf("StoreSet {Key:%s Value:%q}", set.Key, set.Value)
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", s), "wire.") + " " + fmt.Sprintf("%+v", s)
}

// clipAtDifference cuts two texts that differ so that the difference is seen.
func clipAtDifference(a, b string) (string, string) {
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	if i < 100 {
		return clip(a), clip(b)
	}
	head, _, _ := strings.Cut(a, " ")
	return head + " … " + clip(a[i-60:]), head + " … " + clip(b[i-60:])
}

func clip(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

package capdata

import "strings"

// Code is the reason for which the kernel itself rejected a promise. The set is closed and the codes are
// stable: programs branch on them.
type Code string

const (
	// CodeRevoked: the object was revoked.
	CodeRevoked Code = "REVOKED"
	// CodeVatTerminated: the vat that was to resolve the promise is gone for good, or stopped.
	CodeVatTerminated Code = "VAT_TERMINATED"
	// CodeVatRestarted: the vat that was to resolve the promise lost its memory, and the promise with it.
	CodeVatRestarted Code = "VAT_RESTARTED"
	// CodeObjectDeleted: the object no longer exists.
	CodeObjectDeleted Code = "OBJECT_DELETED"
	// CodeBadTarget: the target takes no messages.
	CodeBadTarget Code = "BAD_TARGET"
	// CodeDeliveryTimeout: the vat did not finish the message in time, at any of its attempts.
	CodeDeliveryTimeout Code = "DELIVERY_TIMEOUT"
	// CodeDeliveryPoisoned: the message killed the vat's worker at each of its attempts.
	CodeDeliveryPoisoned Code = "DELIVERY_POISONED"
	// CodeQueueFull: the vat has too many messages waiting.
	CodeQueueFull Code = "QUEUE_FULL"
	// CodeLimit: a limit of the cluster's configuration was exceeded.
	CodeLimit Code = "LIMIT"
	// CodeServiceGone: the kernel service no longer exists.
	CodeServiceGone Code = "SERVICE_GONE"
	// CodeAmbiguous: the kernel stopped while the call of a service was under way; the call may have happened
	// or not.
	CodeAmbiguous Code = "AMBIGUOUS"
	// CodeConnectionLost: the other end of an IO channel went away.
	CodeConnectionLost Code = "CONNECTION_LOST"
	// CodeUnknown: any other reason.
	CodeUnknown Code = "UNKNOWN"
)

// Codes returns all codes, in the order of their declaration.
func Codes() []Code {
	return []Code{
		CodeRevoked, CodeVatTerminated, CodeVatRestarted, CodeObjectDeleted, CodeBadTarget, CodeDeliveryTimeout, CodeDeliveryPoisoned,
		CodeQueueFull, CodeLimit, CodeServiceGone, CodeAmbiguous, CodeConnectionLost, CodeUnknown,
	}
}

// maxDetailBytes bounds the detail of a kernel error, which may quote text of a vat.
const maxDetailBytes = 1 << 10

const kernelPrefix = "[KERNEL:"

// KernelError returns the body of an error that the kernel raises, an Error whose message is "[KERNEL:CODE]
// detail". It has no slots. detail may be any text: bytes that are not UTF-8 are replaced, and a long text is
// cut.
func KernelError(code Code, detail string) (body string) {
	if len(detail) > maxDetailBytes {
		detail = detail[:maxDetailBytes] + "…"
	}
	e := encoder{writer: writer{buf: make([]byte, 0, 64+len(detail))}}
	e.buf = append(e.buf, `#{"#error":`...)
	message := kernelPrefix + string(code) + "] " + detail
	// The message begins with '[', which needs no escape of smallcaps.
	if err := e.quote("", strings.ToValidUTF8(message, "\uFFFD")); err != nil {
		panic("capdata: valid UTF-8 cannot be quoted: " + err.Error())
	}
	e.buf = append(e.buf, `,"name":"Error"}`...)
	return string(e.buf)
}

// ParseKernelError returns the code and the detail of an error that has the form of a kernel error; ok reports
// whether it has. The form is no proof: a vat can write the same message.
func ParseKernelError(e *Error) (code Code, detail string, ok bool) {
	if e == nil {
		return "", "", false
	}
	rest, ok := strings.CutPrefix(e.Message, kernelPrefix)
	if !ok {
		return "", "", false
	}
	word, detail, ok := strings.Cut(rest, "] ")
	if !ok {
		return "", "", false
	}
	for _, c := range Codes() {
		if string(c) == word {
			return c, detail, true
		}
	}
	return "", "", false
}

package capdata

import (
	"strings"

	"ocapkernel.dev/errcode"
)

// maxDetailBytes bounds the detail of a kernel error, which may quote text of a vat.
const maxDetailBytes = 1 << 10

const kernelPrefix = "[KERNEL:"

// KernelError returns the body of an error that the kernel raises, an Error whose message is "[KERNEL:CODE]
// detail". It has no slots. detail may be any text: bytes that are not UTF-8 are replaced, and a long text is
// cut.
func KernelError(code errcode.Code, detail string) (body string) {
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
func ParseKernelError(e *Error) (code errcode.Code, detail string, ok bool) {
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
	for _, c := range errcode.Rejections() {
		if string(c) == word {
			return c, detail, true
		}
	}
	return "", "", false
}

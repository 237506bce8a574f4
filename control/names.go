package control

import (
	"context"
	"strings"

	"ocapkernel.dev/errcode"
)

// The names of things, as a person or a program may write them. An id goes before a name that looks like one.
//
//	vat         v3, SUBCLUSTER/NAME, or NAME, if only one vat has it and it does not look like an id
//	subcluster  s1, or the NAME of a system subcluster
//	target      ko4, kp7, a subcluster (the root of its bootstrap vat), or a vat (its root)
//
// The checks below look at the form alone; the kernel looks up the names. Their errors are [*Error]s with
// errcode.Invalid.

// CheckVat refuses a text that cannot name a vat.
func CheckVat(s string) error {
	if !validRef("v", s) && (!isName(s) || looksLikeID(s)) && !isMember(s) {
		return Errorf(errcode.Invalid, "%s is no vat: want an id such as v1, or a name such as mint or s1/mint", quoteShort(s))
	}
	return nil
}

// CheckSubcluster refuses a text that cannot name a subcluster.
func CheckSubcluster(s string) error {
	if !validRef("s", s) && !isName(s) {
		return Errorf(errcode.Invalid, "%s is no subcluster: want an id such as s1, or the name of a system subcluster", quoteShort(s))
	}
	return nil
}

// CheckTarget refuses a text that cannot name the target of a call.
func CheckTarget(s string) error {
	if CheckKRef(s) != nil && (CheckSubcluster(s) != nil || looksLikeID(s) && !validRef("s", s) && !validRef("v", s)) && CheckVat(s) != nil {
		return Errorf(errcode.Invalid, "%s is no target: want an object such as ko4, a promise such as kp7, a subcluster such as s1, or a vat such as s1/mint", quoteShort(s))
	}
	return nil
}

// CheckKRef refuses a text that cannot name an object or a promise.
func CheckKRef(s string) error {
	if !validRef("ko", s) && !validRef("kp", s) {
		return Errorf(errcode.Invalid, "%s is not an object, such as ko4, or a promise, such as kp7", quoteShort(s))
	}
	return nil
}

// CheckObject refuses a text that cannot name an object. A promise cannot be revoked.
func CheckObject(s string) error {
	if err := CheckKRef(s); err != nil {
		return err
	}
	if strings.HasPrefix(s, "kp") {
		return Errorf(errcode.Invalid, "cannot revoke promise %s: revoke the object that it stands for", s)
	}
	return nil
}

// CheckPoisoned refuses a text that cannot be the id of a poisoned message.
func CheckPoisoned(s string) error {
	if !validID(s) {
		return Errorf(errcode.Invalid, "%s is not the id of a poisoned message", quoteShort(s))
	}
	return nil
}

// looksLikeID reports whether s was meant as an id, such as ko0 or v01, rather than as the name of a vat that
// happens to have this form: such a vat is named with its subcluster.
func looksLikeID(s string) bool {
	for _, prefix := range []string{"ko", "kp", "v", "s"} {
		digits, ok := strings.CutPrefix(s, prefix)
		if ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			return true
		}
	}
	return false
}

// isName reports whether s has the form of the names in configurations.
func isName(s string) bool {
	return validID(s) && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z')
}

// isMember reports whether s has the form SUBCLUSTER/NAME.
func isMember(s string) bool {
	sub, name, both := strings.Cut(s, "/")
	return both && CheckSubcluster(sub) == nil && isName(name)
}

// FindVat describes the vat of a name.
func (c *Client) FindVat(ctx context.Context, name string) (FoundVat, error) {
	var out FoundVat
	err := c.Call(ctx, methodFindVat, idParams{ID: name}, &out)
	return out, err
}

// FoundVat is the vat of a name.
type FoundVat struct {
	// ID is its id, Name its name in the configuration of Subcluster.
	ID         string `json:"vat"`
	Name       string `json:"name"`
	Subcluster string `json:"subcluster"`
	// Root is the kernel's name of its root object.
	Root string `json:"root"`
}

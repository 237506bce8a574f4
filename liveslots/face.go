package liveslots

import "reflect"

// The types that authors of vats use are declared in package vat, where they are documented. This package does not import
// that one. It knows the types by their names, and by what they are made of:
//
//	Ref, Promise, Message, Error     defined by the types of the same names here, so that reflect converts them
//	Durable, Ephemeral, Map          embed the types of the same names here, and so have their unexported methods
//	Mutex, None, Resolver, Outcome   looked at from outside alone
const facePath = "ocapkernel.dev/vat"

// isFace reports whether a type is one of this package, or the one that package vat declares under the same name.
func isFace(t, own reflect.Type) bool {
	return t == own || t.Name() == own.Name() && t.PkgPath() == facePath
}

// A Face makes the values that stand for references and promises in an any. A nil Face leaves them as this package has
// them.
type Face struct {
	Ref     func(Ref) any
	Promise func(Promise) any
}

func (f *Face) ref(r Ref) any {
	if f == nil {
		return r
	}
	return f.Ref(r)
}

func (f *Face) promise(p Promise) any {
	if f == nil {
		return p
	}
	return f.Promise(p)
}

// As makes errors.As find the error as the Error of package vat.
func (e *Error) As(target any) bool {
	into := reflect.ValueOf(target).Elem()
	if t := into.Type(); t.Kind() != reflect.Pointer || !isFace(t.Elem(), typeOwnError) {
		return false
	}
	into.Set(reflect.ValueOf(e).Convert(into.Type()))
	return true
}

var typeOwnError = reflect.TypeFor[Error]()

// ownError returns err itself as an Error, if it is one of this package or of package vat.
func ownError(err error) (*Error, bool) {
	if e, ok := err.(*Error); ok {
		return e, true
	}
	t := reflect.TypeOf(err)
	if t == nil || t.Kind() != reflect.Pointer || !isFace(t.Elem(), typeOwnError) {
		return nil, false
	}
	return reflect.ValueOf(err).Convert(reflect.TypeFor[*Error]()).Interface().(*Error), true
}

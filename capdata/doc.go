// Package capdata holds the marshalled form of a value, its body and its slots, and the codec of the body:
// Endo's smallcaps, a '#' followed by JSON.
//
// The kernel carries capdata without reading its bodies. Programs that make or understand values (the SDK of a
// vat, the command line) use [Encode] and [Decode].
//
// # Values
//
// A passable value is one of a closed set of Go types; anything else is refused:
//
//	nil                null
//	Undefined          undefined
//	bool               boolean
//	float64            number; -0 is written as 0, NaN and the infinities are values
//	*big.Int           bigint
//	string             string
//	Symbol             registered or well-known symbol
//	[]any              array; a nil slice is the empty array
//	*Record            record
//	*Tagged            tagged value
//	*Error             error
//	Remotable          reference to an object, by slot
//	Promise            reference to a promise, by slot
//
// Endo's byte arrays have no smallcaps form yet (its own marshaller refuses them), and so []byte is refused.
//
// # Bytes
//
// [Encode] writes the same bytes as @endo/marshal for the same value: the order of keys, the escapes of
// JSON.stringify, the digits of Number.prototype.toString. testdata/endo.jsonl holds the marshaller's output,
// and the tests compare.
//
// JavaScript strings may hold half of a surrogate pair. In Go such a half is its three-byte WTF-8 form (U+D800
// is "\xed\xa0\x80"), so that no string is lost on its way through a Go vat; in the body it is written \ud800.
// Every other string that is not UTF-8 is refused. A body is always UTF-8.
//
// # Limits
//
// Both directions refuse containers nested deeper than [MaxDepth], bodies above [MaxBodyBytes] and bigints
// above [MaxBigIntBits]. The memory that Decode takes is at most some 50 times the length of the body.
//
// # JSON for people and programs
//
// [ToJSON] and [FromJSON] translate values to and from ordinary JSON, as the command line shows and takes them.
// A key that begins with a single '$' marks a value for which JSON has no form:
//
//	{"$ref":"ko4"}                          reference to an object; to a promise {"$ref":"kp7"}
//	{"$bigint":"123"}                       bigint, decimal
//	{"$undefined":true}                     undefined
//	{"$number":"NaN"}                       also "Infinity" and "-Infinity"
//	{"$symbol":"@@asyncIterator"}           symbol, by its smallcaps name
//	{"$tag":"copySet","payload":[…]}        tagged value
//	{"$error":"no such purse","name":"TypeError"}
//	                                        error; also errorId, cause (an error), errors (an array of them)
//
// A record's own key that begins with '$' is written with one more: {"$$ref":1} is the record {$ref: 1}.
// docs/json.md is the whole of it, for users.
//
// # Concurrency
//
// The package keeps no state: everything may be called from any goroutine. A value must not change while it is
// encoded.
package capdata

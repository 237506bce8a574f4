package capdata_test

import (
	"fmt"
	"math/big"

	"ocapkernel.dev/capdata"
)

func Example() {
	// A call of deposit(100n, purse), where purse is the first slot.
	args := []any{big.NewInt(100), capdata.Remotable{Slot: 0, Iface: "Alleged: Purse"}}
	body, err := capdata.EncodeCall("deposit", args)
	if err != nil {
		fmt.Println(err)
		return
	}
	data := capdata.Data[string]{Body: body, Slots: []string{"ko4"}}
	fmt.Println(data.Body)

	method, args, err := capdata.DecodeCall(data.Body, len(data.Slots))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(method, args[0])

	// As the command line shows it.
	text, err := capdata.ToJSON(args, func(slot int) string { return data.Slots[slot] })
	fmt.Println(string(text), err)
	// Output:
	// #["deposit",["+100","$0.Alleged: Purse"]]
	// deposit 100
	// [{"$bigint":"100"},{"$ref":"ko4"}] <nil>
}

package model_test

import "testing"

// Programs in which the system and the model once differed, made smaller.
func TestFoundPrograms(t *testing.T) {
	for name, p := range map[string]program{
		"a thing that keeps itself alone": {ReapInterval: 1, Commands: []command{
			{Do: "send", Ops: []op{{Do: "send", Ref: "root", ID: 200, Ops: []op{{Do: "send", Ref: "fb", ID: 201, Ops: []op{{Do: "put", Key: "ma", Ref: "self", ID: 206}}}, {Do: "drop", Key: "fb", ID: 212}}}}},
			{Do: "send", Ops: []op{{Do: "new", Key: "fb", ID: 250}}},
			{Do: "collect"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p.ReapInterval = range []int{0, 1, 3} {
				if _, err := inBubble(t, p); err != nil {
					t.Errorf("reapInterval %d: %v", p.ReapInterval, err)
				}
			}
		})
	}
}

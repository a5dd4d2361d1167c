package filter

import (
	"slices"
	"strconv"

	"caracal.dev/caracal"
)

// apply carries operations out on a copy of attrs; without any it returns attrs.
func apply(ops []caracal.Operation, attrs *caracal.Attrs) *caracal.Attrs {
	if len(ops) == 0 {
		return attrs
	}
	a := *attrs
	for _, op := range ops {
		switch {
		case op.AddCommunity != nil:
			add(&a, *op.AddCommunity)
		case len(op.PrependASPath) > 0:
			prepend(&a, op.PrependASPath)
		case op.SetLocalPref != nil:
			a.LocalPref = *op.SetLocalPref
		case op.SetMED != nil:
			a.MED, a.HasMED = *op.SetMED, true
		}
	}
	return &a
}

// add puts a community on the path, unless it is there. The slices of the path
// before are shared, so they are never appended to.
func add(a *caracal.Attrs, c caracal.Community) {
	switch {
	case Has(a, c):
	case c.Large:
		a.LargeCommunities = append(slices.Clip(a.LargeCommunities), c.Value)
	default:
		a.Communities = append(slices.Clip(a.Communities), c.Value[0])
	}
}

func prepend(a *caracal.Attrs, with []uint32) {
	text := a.ASPathText
	if text == "" {
		text = sequence(a.ASPath)
	}
	a.ASPath = slices.Concat(with, a.ASPath)
	a.ASPathLen += len(with)
	a.ASPathText = sequence(with)
	if text != "" {
		a.ASPathText += " " + text
	}
}

// sequence writes AS numbers as people do.
func sequence(list []uint32) string {
	var b []byte
	for i, as := range list {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, uint64(as), 10)
	}
	return string(b)
}

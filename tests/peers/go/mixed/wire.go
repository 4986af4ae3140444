package main

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// echo.proto's messages, as much of them as is used here, written and read by hand: no generated code is needed.

type pair struct {
	key   string
	value []byte
}

type request struct {
	payload           []byte
	size              uint64 // octets to answer with, where the payload is not to be echoed
	echo              bool
	code              uint64
	words             string
	delayMs           uint64
	messages          uint64
	intervalUs        uint64 // also between two reads of a client's stream
	initial, trailing []pair
	report, early     bool
}

type response struct {
	backend                         string
	payload                         []byte
	metadata                        []pair
	messages, bytes, hash, sequence uint64
}

type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case *request:
		return m.write(), nil
	case *response:
		return m.write(), nil
	}
	return nil, fmt.Errorf("%T is no message", v)
}

func (codec) Unmarshal(data []byte, v any) error {
	switch m := v.(type) {
	case *request:
		*m = request{}
		return read(data, m.field)
	case *response:
		*m = response{}
		return read(data, m.field)
	}
	return fmt.Errorf("%T is no message", v)
}

func number(b []byte, field protowire.Number, value uint64) []byte {
	if value == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), value)
}

func octets[T string | []byte](b []byte, field protowire.Number, value T) []byte {
	if len(value) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), []byte(value))
}

func flagged(b []byte, field protowire.Number, value bool) []byte {
	return number(b, field, protowire.EncodeBool(value))
}

func pairs(b []byte, field protowire.Number, list []pair) []byte {
	for _, p := range list {
		inner := octets(octets(nil, 1, p.key), 2, p.value)
		b = protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), inner)
	}
	return b
}

func (m *request) write() []byte {
	b := make([]byte, 0, len(m.payload)+200)
	b = octets(b, 1, m.payload)
	b = number(b, 2, m.size)
	b = flagged(b, 3, m.echo)
	b = number(b, 4, m.code)
	b = octets(b, 5, m.words)
	b = number(b, 7, m.delayMs)
	b = number(b, 8, m.messages)
	b = number(b, 9, m.intervalUs)
	b = pairs(b, 10, m.initial)
	b = pairs(b, 11, m.trailing)
	b = flagged(b, 12, m.report)
	return flagged(b, 13, m.early)
}

func (m *response) write() []byte {
	b := make([]byte, 0, len(m.payload)+200)
	b = octets(b, 1, m.backend)
	b = octets(b, 2, m.payload)
	b = pairs(b, 3, m.metadata)
	b = number(b, 4, m.messages)
	b = number(b, 5, m.bytes)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 6, protowire.Fixed64Type), m.hash)
	return number(b, 7, m.sequence)
}

// Every field of a message: a number, or octets.
func read(data []byte, field func(n protowire.Number, value uint64, octets []byte) error) error {
	for len(data) > 0 {
		n, kind, used := protowire.ConsumeTag(data)
		if used < 0 {
			return protowire.ParseError(used)
		}
		data = data[used:]
		var value uint64
		var inner []byte
		switch kind {
		case protowire.VarintType:
			value, used = protowire.ConsumeVarint(data)
		case protowire.Fixed64Type:
			value, used = protowire.ConsumeFixed64(data)
		case protowire.BytesType:
			inner, used = protowire.ConsumeBytes(data)
		default:
			return errors.New("a type of field that echo.proto does not have")
		}
		if used < 0 {
			return protowire.ParseError(used)
		}
		data = data[used:]
		if err := field(n, value, inner); err != nil {
			return err
		}
	}
	return nil
}

func pairOf(data []byte) (p pair, err error) {
	err = read(data, func(n protowire.Number, _ uint64, octets []byte) error {
		if n == 1 {
			p.key = string(octets)
		} else if n == 2 {
			p.value = append([]byte(nil), octets...)
		}
		return nil
	})
	return
}

func (m *request) field(n protowire.Number, value uint64, inner []byte) (err error) {
	var p pair
	switch n {
	case 1:
		m.payload = append([]byte(nil), inner...)
	case 2:
		m.size = value
	case 3:
		m.echo = value != 0
	case 4:
		m.code = value
	case 5:
		m.words = string(inner)
	case 7:
		m.delayMs = value
	case 8:
		m.messages = value
	case 9:
		m.intervalUs = value
	case 10:
		p, err = pairOf(inner)
		m.initial = append(m.initial, p)
	case 11:
		p, err = pairOf(inner)
		m.trailing = append(m.trailing, p)
	case 12:
		m.report = value != 0
	case 13:
		m.early = value != 0
	}
	return
}

func (m *response) field(n protowire.Number, value uint64, inner []byte) (err error) {
	var p pair
	switch n {
	case 1:
		m.backend = string(inner)
	case 2:
		m.payload = append([]byte(nil), inner...)
	case 3:
		p, err = pairOf(inner)
		m.metadata = append(m.metadata, p)
	case 4:
		m.messages = value
	case 5:
		m.bytes = value
	case 6:
		m.hash = value
	case 7:
		m.sequence = value
	}
	return
}

// Fidelity's 4-byte id for a Go producer: copy Seed and ID into your code.
package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"math/bits"
	"os"
	"strconv"
	"strings"
)

const (
	p1 uint32 = 0x9E3779B1
	p2 uint32 = 0x85EBCA77
	p3 uint32 = 0xC2B2AE3D
	p4 uint32 = 0x27D4EB2F
	p5 uint32 = 0x165667B1
)

// Seed of one producer; compute it once.
func Seed(stream, origin string) uint32 {
	return xxh32([]byte(stream+"\x1f"+origin), 0)
}

// ID of one record. uint32 arithmetic is modulo 2^32, and so is the sequence.
// Text lines and JSON members carry fmt.Sprintf("%08x", id).
func ID(sequence, seed uint32) uint32 {
	return avalanche(bits.RotateLeft32(seed+p5+4+sequence*p3, 17) * p4)
}

// Header is what a Kafka header carries.
func Header(id uint32) []byte {
	return binary.BigEndian.AppendUint32(nil, id)
}

func xxh32(data []byte, seed uint32) uint32 {
	length := uint32(len(data))
	mixed := seed + p5
	if len(data) >= 16 {
		lanes := [4]uint32{seed + p1 + p2, seed + p2, seed, seed - p1}
		for ; len(data) >= 16; data = data[16:] {
			for lane := range lanes {
				lanes[lane] += binary.LittleEndian.Uint32(data[4*lane:]) * p2
				lanes[lane] = bits.RotateLeft32(lanes[lane], 13) * p1
			}
		}
		mixed = bits.RotateLeft32(lanes[0], 1) + bits.RotateLeft32(lanes[1], 7) +
			bits.RotateLeft32(lanes[2], 12) + bits.RotateLeft32(lanes[3], 18)
	}
	mixed += length
	for ; len(data) >= 4; data = data[4:] {
		mixed = bits.RotateLeft32(mixed+binary.LittleEndian.Uint32(data)*p3, 17) * p4
	}
	for _, octet := range data {
		mixed = bits.RotateLeft32(mixed+uint32(octet)*p5, 11) * p1
	}
	return avalanche(mixed)
}

func avalanche(mixed uint32) uint32 {
	mixed = (mixed ^ mixed>>15) * p2
	mixed = (mixed ^ mixed>>13) * p3
	return mixed ^ mixed>>16
}

// Checks itself: reads `stream TAB origin TAB sequence` lines, prints one id a line.
func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		part := strings.Split(lines.Text(), "\t")
		sequence, err := strconv.ParseUint(part[2], 10, 32)
		if err != nil {
			panic(err)
		}
		fmt.Printf("%08x\n", ID(uint32(sequence), Seed(part[0], part[1])))
	}
}

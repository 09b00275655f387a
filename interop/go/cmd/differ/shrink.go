package main

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// shrinkReplays bounds the work of making a script short.
const shrinkReplays = 1500

type shrinker struct {
	pair    *pair
	replays int
	best    *mismatch
}

// shrink looks for a shorter script that still ends in a difference, not necessarily the same one. False: the script
// does not show any difference when it is replayed from a clean state.
func (p *pair) shrink(found *mismatch) (*mismatch, bool) {
	s := &shrinker{pair: p, best: found}
	if !s.try(found.script) {
		return found, false
	}
	for size := len(s.best.script) / 2; size > 0; {
		if !s.dropStretch(size) {
			size /= 2
		}
	}
	for s.replays < shrinkReplays && s.simplify() {
	}
	return s.best, true
}

// try replays a candidate and keeps it if it shows a difference.
func (s *shrinker) try(script []operation) bool {
	if s.replays >= shrinkReplays {
		return false
	}
	s.replays++
	found, err := s.pair.replay(script)
	if err != nil || found == nil {
		return false
	}
	s.best = found
	return true
}

// dropStretch takes out one stretch of that many operations.
func (s *shrinker) dropStretch(size int) bool {
	for end := len(s.best.script); end > 0; end -= size {
		start := max(0, end-size)
		if end == len(s.best.script) && start == 0 {
			continue
		}
		candidate := append(append([]operation{}, s.best.script[:start]...), s.best.script[end:]...)
		if s.try(candidate) {
			return true
		}
	}
	return false
}

// simplify takes one field or list element out of one operation.
func (s *shrinker) simplify() bool {
	for n := range s.best.script {
		op := s.best.script[n]
		for _, smaller := range smallerRequests(op.request) {
			candidate := append([]operation{}, s.best.script...)
			candidate[n] = operation{op.method, smaller, op.extra}
			if s.try(candidate) {
				return true
			}
		}
		if len(op.extra) > 0 {
			candidate := append([]operation{}, s.best.script...)
			candidate[n].extra = nil
			if s.try(candidate) {
				return true
			}
		}
	}
	return false
}

// smallerRequests gives the copies of a message that have one thing less.
func smallerRequests(message proto.Message) (smaller []proto.Message) {
	for place := 0; ; place++ {
		clone := proto.Clone(message)
		left := place
		if !removeAt(clone.ProtoReflect(), &left) {
			return smaller
		}
		smaller = append(smaller, clone)
	}
}

// removeAt removes the thing number *left, counting fields and list elements in depth-first order.
func removeAt(message protoreflect.Message, left *int) bool {
	if len(message.GetUnknown()) > 0 {
		if *left == 0 {
			message.SetUnknown(nil)
			return true
		}
		*left--
	}
	fields := message.Descriptor().Fields()
	for i := range fields.Len() {
		field := fields.Get(i)
		if !message.Has(field) {
			continue
		}
		if !field.IsList() {
			if *left == 0 {
				message.Clear(field)
				return true
			}
			*left--
			if field.Message() != nil && removeAt(message.Mutable(field).Message(), left) {
				return true
			}
			continue
		}
		if removeFromList(message.Mutable(field).List(), field.Message() != nil, left) {
			return true
		}
	}
	return false
}

func removeFromList(list protoreflect.List, messages bool, left *int) bool {
	for i := range list.Len() {
		if *left == 0 {
			for j := i; j+1 < list.Len(); j++ {
				list.Set(j, list.Get(j+1))
			}
			list.Truncate(list.Len() - 1)
			return true
		}
		*left--
		if messages && removeAt(list.Get(i).Message(), left) {
			return true
		}
	}
	return false
}

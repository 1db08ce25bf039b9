package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

// Errors of reading.
var (
	// ErrNotFound says that a subject holds no message.
	ErrNotFound = errors.New("no message on the subject")
	// ErrIncomplete says that the server's answer broke off.
	ErrIncomplete = errors.New("answer broke off")
)

// Stored is a message read from a stream without consuming it.
type Stored struct {
	Subject string
	Header  nats.Header
	Data    []byte
	Seq     uint64
}

// maxLastBatch is the most subjects asked for at once; the server takes 1,024.
const maxLastBatch = 1000

// LastMessages reads the newest message of each subject, in one round trip per
// thousand. A subject without a message is absent from the answer. In a cluster
// a replica may answer that is a moment behind; whoever publishes on the
// strength of the answer must do so with an expectation.
func LastMessages(ctx context.Context, js jetstream.JetStream, stream string, subjects []string) (map[string]Stored, error) {
	found := make(map[string]Stored, len(subjects))
	for len(subjects) > 0 {
		n := min(len(subjects), maxLastBatch)
		if err := lastMessages(ctx, js, stream, subjects[:n], found); err != nil {
			return nil, fmt.Errorf("read the last messages of %d subjects of %s: %w", n, stream, err)
		}
		subjects = subjects[n:]
	}
	return found, nil
}

// lastMessages adds to found. The server ends an answer early when it grows too
// large, so what is left is asked for again until an answer is complete:
// otherwise a subject with a message would pass for one without.
func lastMessages(ctx context.Context, js jetstream.JetStream, stream string, subjects []string, found map[string]Stored) error {
	for {
		msgs, err := jetstreamext.GetLastMsgsFor(ctx, js, stream, subjects)
		if err != nil {
			return err
		}
		before, complete := len(found), false
		for m, err := range msgs {
			if errors.Is(err, jetstreamext.ErrNoMessages) {
				return nil
			}
			if err != nil {
				return err
			}
			found[m.Subject] = Stored{Subject: m.Subject, Header: m.Header, Data: m.Data, Seq: m.Sequence}
			complete = m.Header.Get("Nats-Num-Pending") == "0"
		}
		if complete {
			return nil
		}
		if len(found) == before {
			return ErrIncomplete
		}
		var left []string
		for _, s := range subjects {
			if _, ok := found[s]; !ok {
				left = append(left, s)
			}
		}
		if len(left) == 0 {
			return nil
		}
		subjects = left
	}
}

// LastMessage reads the newest message of a subject from the stream's leader,
// so it is never behind what was acknowledged before the call. It returns
// [ErrNotFound] when there is none.
func LastMessage(ctx context.Context, js jetstream.JetStream, stream, subject string) (Stored, error) {
	// The library's own call uses a direct get, which any replica may answer.
	req, err := json.Marshal(map[string]string{"last_by_subj": subject})
	if err != nil {
		return Stored{}, fmt.Errorf("read the last message on %s: %w", subject, err)
	}
	reply, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, req)
	if err != nil {
		return Stored{}, fmt.Errorf("read the last message on %s: %w", subject, err)
	}
	var answer struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return Stored{}, fmt.Errorf("read the last message on %s: %w", subject, err)
	}
	if answer.Error != nil {
		if answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return Stored{}, ErrNotFound
		}
		return Stored{}, fmt.Errorf("read the last message on %s: %w", subject, answer.Error)
	}
	s := Stored{Subject: answer.Message.Subject, Data: answer.Message.Data, Seq: answer.Message.Seq}
	if len(answer.Message.Header) > 0 {
		if s.Header, err = nats.DecodeHeadersMsg(answer.Message.Header); err != nil {
			return Stored{}, fmt.Errorf("read the last message on %s: headers: %w", subject, err)
		}
	}
	return s, nil
}

package query

import (
	"context"
	"fmt"
	"log/slog"

	recognitionv1 "github.com/posthaste/posthaste/pkg/api/posthaste/recognition/v1"
	"github.com/posthaste/posthaste/services/internal/obs"
	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/rpc"
	"github.com/posthaste/posthaste/services/internal/track"
)

const (
	maxNumbers = 200
	maxNumber  = 64 // characters
	maxUsual   = 20
)

// answers reads what carriers answered for numbers that begin alike.
type answers interface {
	Answers(ctx context.Context, numbers ...string) (map[recognize.Shape][]recognize.Answer, error)
}

// Recognitions answers the RecognitionService.
type Recognitions struct {
	recognitionv1.UnimplementedRecognitionServiceServer
	answers answers
	log     *slog.Logger
}

// NewRecognitions makes the service.
func NewRecognitions(a answers, log *slog.Logger) *Recognitions {
	return &Recognitions{answers: a, log: log}
}

// Recognize ranks the carriers of numbers. Without PostgreSQL it answers by the
// table of forms alone.
func (r *Recognitions) Recognize(ctx context.Context, req *recognitionv1.RecognizeRequest) (*recognitionv1.RecognizeResponse, error) {
	numbers := req.GetNumbers()
	if n := len(numbers); n == 0 || n > maxNumbers {
		return nil, rpc.Invalid("numbers", fmt.Sprintf("must be 1 to %d, and there are %d", maxNumbers, n))
	}
	for i, n := range numbers {
		if c := len([]rune(n)); c == 0 || c > maxNumber {
			return nil, rpc.Invalid(fmt.Sprintf("numbers[%d]", i), fmt.Sprintf("must have 1 to %d characters", maxNumber))
		}
	}
	var hints recognize.Hints
	if n := len(req.GetUsualCarrierCodes()); n > maxUsual {
		return nil, rpc.Invalid("usual_carrier_codes", fmt.Sprintf("must be at most %d, and there are %d", maxUsual, n))
	}
	for i, code := range req.GetUsualCarrierCodes() {
		c, err := track.NormalCarrier(code)
		if err != nil {
			return nil, rpc.Invalid(fmt.Sprintf("usual_carrier_codes[%d]", i), err.Error())
		}
		hints.Usual = append(hints.Usual, c)
	}
	var err error
	if hints.Answers, err = r.answers.Answers(ctx, numbers...); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.log.WarnContext(ctx, "numbers are recognized by their forms alone", obs.KeyError, err)
	}
	resp := &recognitionv1.RecognizeResponse{}
	for _, n := range numbers {
		resp.Recognitions = append(resp.Recognitions, Recognition(n, hints))
	}
	return resp, nil
}

// Recognition is what one number may be, as the API says it.
func Recognition(number string, hints recognize.Hints) *recognitionv1.Recognition {
	candidates, rejections := recognize.Explain(number, hints)
	m := &recognitionv1.Recognition{Number: number}
	if sure, ok := recognize.Sure(candidates); ok {
		m.SureCarrierCode = string(sure)
	}
	for _, c := range candidates {
		check := recognitionv1.CheckDigit_CHECK_DIGIT_NONE
		if c.Checked {
			check = recognitionv1.CheckDigit_CHECK_DIGIT_HOLDS
		}
		m.Candidates = append(m.Candidates, &recognitionv1.Candidate{
			CarrierCode: string(c.Carrier), Confidence: int32(c.Confidence), CheckDigit: check, Reasons: c.Reasons, Needs: c.Needs,
		})
	}
	for _, no := range rejections {
		m.Rejections = append(m.Rejections, &recognitionv1.Rejection{CarrierCode: string(no.Carrier), Reason: no.Reason})
	}
	return m
}

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestRecognize_PrintsARankingWithReasons(t *testing.T) {
	t.Parallel()
	out, err := posthaste(t, nil, "recognize", "SF1234567890123", "1z 5r8 939 0357567 127")
	if err != nil || !strings.Contains(out, "sf-express  99 %  SF and 13 digits (the carrier asks for: phone)") || !strings.Contains(out, "ups  99 %") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = posthaste(t, nil, "recognize", "1Z5R89390357567128")
	if err == nil || !strings.Contains(out, "not ups") || !strings.Contains(out, "no form is known") {
		t.Errorf("a wrong check digit: %v: %s", err, out)
	}
	out, err = posthaste(t, nil, "recognize", "--usual=sf-express", "444003079772")
	if first := strings.Split(out, "\n"); err != nil || len(first) < 2 || !strings.Contains(first[1], "sf-express") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestRecognize_PrintsJSON(t *testing.T) {
	t.Parallel()
	out, err := posthaste(t, nil, "recognize", "--json", "YT1234567890123", "?????")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	var said struct {
		Number     string
		Sure       string `json:"sure_carrier_code"`
		Candidates []struct {
			Carrier    string `json:"carrier_code"`
			Confidence int
		}
	}
	if err := json.Unmarshal([]byte(lines[0]), &said); err != nil || len(lines) != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	if said.Number != "YT1234567890123" || said.Sure != "yto-express" || len(said.Candidates) != 1 || said.Candidates[0].Confidence < 90 {
		t.Errorf("got %s", lines[0])
	}
}

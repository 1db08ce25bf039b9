package recognize_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/posthaste/posthaste/services/internal/recognize"
	"github.com/posthaste/posthaste/services/internal/testkit"
	"github.com/posthaste/posthaste/services/internal/track"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func carriers(c []recognize.Candidate) []track.Carrier {
	var all []track.Carrier
	for i := range c {
		all = append(all, c[i].Carrier)
	}
	return all
}

// Forms that look alike and aren't.
func TestCandidates_TellLookalikesApart(t *testing.T) {
	t.Parallel()
	for number, want := range map[string]track.Carrier{
		"SF1234567890123":        "sf-express",
		"YT1234567890123":        "yto-express",
		"YT1234567890123456":     "yunexpress",
		"JDVA00012345678":        "jd-logistics",
		"JD0123456789012345678":  "",
		"JD01234567890123456":    "dhl", // 17 digits; JD Logistics has fewer
		"JT0001234567890":        "jt-express-cn",
		"UT0000264445622":        "jt-express-cn",
		"73100196611386":         "zto-express",
		"771234567890123":        "sto-express",
		"431234567890123":        "yunda-express",
		"DPK123456789012":        "deppon-express",
		"EA123456785CN":          "ems",
		"RB123456785CN":          "china-post-parcel",
		"RB123456785GB":          "royal-mail",
		"RB123456785AR":          "post-ar",
		"UG123456789YP":          "yanwen", // no country
		"1Z5R89390357567127":     "ups",
		"9400111206206406260787": "usps",
		"986578788855":           "fedex",
		"3318810025":             "dhl",
		"TBA000000000000":        "kdn-amazon",
		"4PX1234567890123CN":     "4px",
		"LP00123456789012":       "cainiao-global",
		"SIM-DELIVERED-1":        recognize.Simulated,
		"ＳＦ１２３４５６７８９０１２３":         "sf-express",
		" sf 1234-5678-90123 ":    "sf-express",
		"1LS7119013618127-1":      "lasership",
		"X":                       "",
		"":                        "",
		"HELLO WORLD":             "",
		"\xff\x00":                "",
		strings.Repeat("9", 1000): "",
	} {
		t.Run(number[:min(len(number), 30)], func(t *testing.T) {
			t.Parallel()
			got := recognize.Candidates(number, recognize.Hints{})
			var first track.Carrier
			if len(got) > 0 {
				first = got[0].Carrier
			}
			if first != want {
				t.Errorf("got %v, want %q first", got, want)
			}
		})
	}
}

// A number of a form with a check digit that doesn't hold is nobody's, and it is
// said whose it nearly is.
func TestExplain_RejectsByCheckDigit(t *testing.T) {
	t.Parallel()
	for number, carrier := range map[string]track.Carrier{
		"1Z5R89390357567128":     "ups",
		"9400111206206406260788": "usps",
		"RB123456786GB":          "royal-mail",
		"RB123456785XX":          "post-xx", // no country that issues numbers
		"3318810026":             "dhl",
	} {
		candidates, rejections := recognize.Explain(number, recognize.Hints{})
		for _, c := range candidates {
			if c.Carrier == carrier {
				t.Errorf("%s is a candidate: %v", number, c)
			}
		}
		var named bool
		for _, r := range rejections {
			named = named || r.Carrier == carrier && r.Reason != ""
		}
		if !named {
			t.Errorf("%s: %s isn't named among %v", number, carrier, rejections)
		}
	}
}

func TestCandidates_SayWhyAndWhatElseIsNeeded(t *testing.T) {
	t.Parallel()
	got := recognize.Candidates("SF1234567890123", recognize.Hints{})
	want := []recognize.Candidate{{Carrier: "sf-express", Confidence: 99, Reasons: []string{"SF and 13 digits"}, Needs: []string{"phone"}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = recognize.Candidates("1Z5R89390357567127", recognize.Hints{})
	if len(got) != 1 || !got[0].Checked || len(got[0].Reasons) != 2 {
		t.Errorf("got %v", got)
	}
}

// Twelve digits are used by half a dozen carriers: nobody is sure, and what is
// known beside decides.
func TestCandidates_OfAnAmbiguousNumberFollowWhatIsKnown(t *testing.T) {
	t.Parallel()
	const number = "444003079772" // an old number of SF
	plain := recognize.Candidates(number, recognize.Hints{})
	if _, sure := recognize.Sure(plain); sure || len(plain) < 2 {
		t.Errorf("without hints: %v", plain)
	}
	usual := recognize.Candidates(number, recognize.Hints{Usual: []track.Carrier{"sf-express"}})
	if carriers(usual)[0] != "sf-express" {
		t.Errorf("for who ships with SF: %v", usual)
	}
	shape := recognize.Shapes(number)[0]
	learned := recognize.Candidates(number, recognize.Hints{Answers: map[recognize.Shape][]recognize.Answer{
		shape: {{Carrier: "sf-express", Count: 970}, {Carrier: "zto-express", Count: 30}},
	}})
	if sure, ok := recognize.Sure(learned); !ok || sure != "sf-express" {
		t.Errorf("learned: %v", learned)
	}
}

func TestCandidates_LearnCarriersThatNoFormNames(t *testing.T) {
	t.Parallel()
	const number = "QQ99-88-7766554433"
	if got := recognize.Candidates(number, recognize.Hints{}); len(got) > 0 && got[0].Confidence > 50 {
		t.Fatalf("it has a form: %v", got)
	}
	answers := map[recognize.Shape][]recognize.Answer{recognize.Shapes(number)[1]: {{Carrier: "newcomer", Count: 500}}}
	got := recognize.Candidates(number, recognize.Hints{Answers: answers})
	if len(got) == 0 || got[0].Carrier != "newcomer" || got[0].Confidence < 90 {
		t.Errorf("got %v", got)
	}
	// A few answers are no reason yet.
	answers[recognize.Shapes(number)[1]][0].Count = 2
	if got := recognize.Candidates(number, recognize.Hints{Answers: answers}); len(got) > 0 && got[0].Carrier == "newcomer" {
		t.Errorf("after two answers: %v", got)
	}
}

// What was learned of other numbers doesn't make a wrong check digit right.
func TestCandidates_LearnNothingAgainstACheckDigit(t *testing.T) {
	t.Parallel()
	const number = "1Z5R89390357567128"
	answers := map[recognize.Shape][]recognize.Answer{recognize.Shapes(number)[0]: {{Carrier: "ups", Count: 10_000}}}
	if got := recognize.Candidates(number, recognize.Hints{Answers: answers}); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

// Whatever is asked, the answer is a ranking that makes sense, and asking again
// gives the same.
func TestCandidates_AreARanking(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Z]{0,3}[0-9]{0,34}[A-Z]{0,2}`)).Draw(t, "number")
		hints := recognize.Hints{Answers: map[recognize.Shape][]recognize.Answer{}}
		for _, s := range recognize.Shapes(number) {
			count := rapid.Int64Range(0, 1<<40).Draw(t, "count")
			hints.Answers[s] = []recognize.Answer{{Carrier: "fedex", Count: count}, {Carrier: "newcomer", Count: 7}}
		}
		got := recognize.Candidates(number, hints)
		sum, before := 0, 100
		for _, c := range got {
			if c.Confidence < 1 || c.Confidence > before || len(c.Reasons) == 0 {
				t.Fatalf("%q: %v", number, got)
			}
			before, sum = c.Confidence, sum+c.Confidence
		}
		if sum > 100+len(got) {
			t.Fatalf("%q: confidences add up to %d: %v", number, sum, got)
		}
		if diff := cmp.Diff(got, recognize.Candidates(number, hints)); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkCandidates(b *testing.B) {
	for b.Loop() {
		recognize.Candidates("444003079772", recognize.Hints{})
	}
}

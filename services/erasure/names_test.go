package erasure

import "testing"

func TestNames_FindsANumberThatStandsAlone(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		`{"nu":"SF1234567"}`: true, `sf1234567&x=1`: true, `SF1234567`: true,
		`SF12345678`: false, `XSF1234567`: false, `SF12345678 SF1234567`: true, ``: false, `签收SF1234567张三`: true,
	} {
		if names([]byte(text), "SF1234567") != want {
			t.Errorf("in %q it is found: %t", text, !want)
		}
	}
	if names([]byte("1234"), "1234") {
		t.Error("a short number is looked for")
	}
}

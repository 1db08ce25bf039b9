package carrier

import (
	"fmt"
	"strings"
	"time"

	"github.com/posthaste/posthaste/services/internal/track"
)

// china is how far east of UTC China's clocks are. Both platforms tell China's
// time unless a report says otherwise.
const china = 8 * time.Hour

// Years outside these are mistakes of the source, such as 0001-01-01.
const (
	minYear = 1990
	maxYear = 2200
)

// layouts are the forms of time seen in reports, after spelling: dashes, and a
// blank before the hour.
var layouts = []struct {
	layout    string
	precision track.Precision
}{
	{"2006-1-2 15:4:5", track.PrecisionSecond}, // a fraction is read too
	{"2006-1-2 15:4:5Z07:00", track.PrecisionSecond},
	{"2006-1-2 15:4:5 Z07:00", track.PrecisionSecond},
	{"2006-1-2 15:4:5Z0700", track.PrecisionSecond},
	{"2006-1-2 15:4", track.PrecisionMinute},
	{"2006-1-2 15", track.PrecisionMinute},
	{"2006-1-2", track.PrecisionDate},
	{"20060102150405", track.PrecisionSecond},
	{"20060102", track.PrecisionDate},
}

var spelling = strings.NewReplacer("/", "-", "T", " ", "t", " ", "年", "-", "月", "-", "日", " ", "时", ":", "分", ":", "秒", "")

// maxOffset is the farthest that clocks are from UTC.
const maxOffset = 14 * time.Hour

// zone is the offset that holds where a time doesn't tell its own.
type zone struct {
	offset time.Duration
	source track.OffsetSource
}

var chinaZone = zone{china, track.OffsetCarrierDefault}

// parseTime reads a time in any of the forms seen.
func parseTime(s string, z zone) (track.Time, error) {
	plain := strings.Trim(strings.Join(strings.Fields(spelling.Replace(s)), " "), " :")
	for _, l := range layouts {
		at, err := time.Parse(l.layout, plain)
		if err != nil {
			continue
		}
		if at.Year() < minYear || at.Year() > maxYear {
			return track.Time{}, fmt.Errorf("time %q is of the year %d", s, at.Year())
		}
		t := track.Time{Offset: z.offset, OffsetSource: z.source, Precision: l.precision}
		if strings.Contains(l.layout, "Z07") {
			_, seconds := at.Zone()
			t.Offset, t.OffsetSource = time.Duration(seconds)*time.Second, track.OffsetGiven
		}
		t.Wall = time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.UTC)
		return t, nil
	}
	return track.Time{}, fmt.Errorf("time %q is in no known form", s)
}

// givenZone reads an offset such as "-05:00"; anything else leaves z.
func givenZone(s string, z zone) zone {
	s = strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(s), "UTC"), "GMT")
	for _, layout := range []string{"Z07:00", "Z0700", "Z07"} {
		if at, err := time.Parse(layout, s); err == nil {
			_, seconds := at.Zone()
			return zone{time.Duration(seconds) * time.Second, track.OffsetGiven}
		}
	}
	return z
}

// countryOffsets are the countries with one time zone and no summer time.
var countryOffsets = map[string]time.Duration{
	"HK": china, "MO": china, "TW": china, "SG": china, "MY": china, "PH": china,
	"JP": 9 * time.Hour, "KR": 9 * time.Hour, "TH": 7 * time.Hour, "VN": 7 * time.Hour, "KH": 7 * time.Hour,
	"LA": 7 * time.Hour, "BD": 6 * time.Hour, "IN": 5*time.Hour + 30*time.Minute, "PK": 5 * time.Hour,
	"AE": 4 * time.Hour, "SA": 3 * time.Hour, "NG": time.Hour, "KE": 3 * time.Hour, "ZA": 2 * time.Hour,
}

// countryZone is a country's offset. Where a country has several, it is
// unknown: better none than a wrong one.
func countryZone(country string) zone {
	if country == "" || country == "CN" {
		return chinaZone
	}
	if offset, ok := countryOffsets[country]; ok {
		return zone{offset, track.OffsetCountry}
	}
	return zone{}
}

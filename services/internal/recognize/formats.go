package recognize

import (
	"sync"

	"github.com/posthaste/posthaste/services/internal/track"
)

// format is a form of numbers that a carrier gives.
type format struct {
	carrier track.Carrier // empty: the post of the country at the number's end
	name    string
	pattern string // see parse
	// usual is how usual such numbers are, beside other numbers of the same
	// length: 1 for a form that is seen now and then, 20 for a large carrier's
	// present form, 0.1 for one that is no longer given.
	usual float64
	check *check // nil: none is known
}

// formats are the forms known. Sources: the carriers' own descriptions, UPU S10,
// GS1, and numbers seen in payloads; for Chinese carriers also the patterns that
// Taobao's interface for logistics companies published, most of them from before
// 2020. Chinese carriers publish no check digit.
var formats = []format{
	// China.
	{"sf-express", "SF and 13 digits", `SF#{13}`, 20, nil},
	{"sf-express", "SF and 12 digits", `SF#{12}`, 5, nil},
	{"sf-express", "12 digits, before 2020", `#{12}`, 4, nil},
	{"zto-express", "14 digits from 73 to 79", `7[3-9]#{12}`, 20, nil},
	{"zto-express", "12 digits, older", `(765|852|779|359|528|751|358|618|680|778|780|768|688|689|828|988|118|128|888|571|518|010|628|205|880|882|717|718|728|738|761|762|763|701|757|719|881|120)#{9}`, 0.5, nil},
	{"zto-express", "12 digits, older", `(2008|2009|2010|2013|5711|7518|8050)#{8}`, 0.5, nil},
	{"zto-express", "12 digits, older", `(36|37|39|50|53|54|55|56|63|64|66|68|72|91|92|93|94|95|98)#{10}`, 0.3, nil},
	{"zto-express", "12 digits, older", `4#{11}`, 0.3, nil},
	{"yto-express", "YT and 13 digits", `YT#{13}`, 20, nil},
	{"yto-express", "DD8 or DD9 and 15 digits", `DD[89]#{15}`, 2, nil},
	{"yto-express", "Y and 12 digits", `Y#{12}`, 1, nil},
	{"yto-express", "18 digits from 6 to 9, older", `[6-9]#{17}`, 0.3, nil},
	{"yto-express", "12 characters, older", `@*#{10}`, 0.1, nil},
	{"yto-express", "10 characters, older", `@*#{8}`, 0.1, nil},
	{"sto-express", "77 and 13 digits", `77#{13}`, 20, nil},
	{"sto-express", "STO and 10 digits", `STO#{10}`, 3, nil},
	{"sto-express", "12 digits, older", `(268|368|468|568|588|668|688|768|868|888|968)#{9}`, 0.5, nil},
	{"sto-express", "13 digits, older", `(268|368|468|568|588|668|688|768|868|888|968)#{10}`, 0.5, nil},
	{"sto-express", "12 digits, older", `(11|22|40)#{10}`, 0.3, nil},
	{"sto-express", "13 digits, older", `(33|37|44|55|66|77|88|99)#{11}`, 1, nil},
	{"sto-express", "13 digits, older", `4#{12}`, 0.5, nil},
	{"yunda-express", "15 digits from 31, 43 or 46", `(43|46|31)#{13}`, 20, nil},
	{"yunda-express", "13 digits", `(10|11|12|13|14|15|16|17|18|19|31|39|43|50|55|58|66|77|80|88)#{11}`, 2, nil},
	{"yunda-express", "13 digits", `#{13}`, 2, nil},
	{"yunda-express", "YD and 13 digits", `YD#{13}`, 2, nil},
	{"jt-express-cn", "JT and 13 digits", `JT#{13}`, 20, nil},
	{"jt-express-cn", "UT and 13 digits", `UT#{13}`, 3, nil},
	{"jd-logistics", "JD, letters and digits", `JD@{1,3}#{10,15}`, 10, nil},
	{"jd-logistics", "JD and 13 to 15 digits", `JD#{13,15}`, 3, nil},
	{"jd-logistics", "V, a letter and 11 digits", `V@#{11}`, 1, nil},
	{"deppon-express", "DPK and digits", `DPK#{11,14}`, 5, nil},
	{"deppon-express", "8 to 10 digits, older", `#{8,10}`, 0.3, nil},
	{"ems", "EMS, UPU S10", `E@#{9}CN`, 3, checkS10()},
	{"ems", "13 digits from 10 to 13", `(10|11|12|13)#{11}`, 4, nil},
	{"ems", "13 digits", `(50|51|95|97)#{11}`, 4, nil},
	{"china-post-parcel", "13 digits from 96, 98 or 99", `(96|98|99)#{11}`, 3, nil},
	{"china-post-parcel", "two letters and 11 digits", `(GA|KQ|PH|GK|GQ|AK|AQ|PA|PK|PQ|HA|HK|HQ)#{11}`, 0.3, nil},
	{"best-express", "13 characters, older", `[ABDE]#{12}`, 0.3, nil},
	{"best-express", "13 characters, older", `(BXA#|K8##|02##|000#)#{9}`, 0.2, nil},
	{"best-express", "14 digits, older", `[67]#{13}`, 0.1, nil},
	{"uce-express", "12 characters", `(VIP#|V###|9001)#{8}`, 0.5, nil},
	{"ttk-express", "13 digits, older", `TT(66|88|99|56|57)#{11}`, 0.1, nil},
	{"ttk-express", "12 digits, older", `(66#|77#|88#|555|556|558|995|998)#{9}`, 0.1, nil},
	{"zjs-express", "ZJS and 12 digits", `ZJS#{12}`, 1, nil},
	{"zjs-express", "A and 12 digits", `A#{12}`, 0.3, nil},
	{"zjs-express", "10 digits from 42 or 16", `(42|16)#{8}`, 0.3, nil},

	// From China abroad.
	{"cainiao-global", "LP and 14 to 18 digits", `LP#{14,18}`, 5, nil},
	{"cainiao-global", "CNG and digits", `CNG#{8,20}`, 1, nil},
	{"cainiao-global", "CAINIAO and digits", `CAINIAO#{8,20}`, 1, nil},
	{"4px", "4PX and digits", `4PX#{12,16}@{0,2}`, 3, nil},
	{"yanwen", "like S10, with YP for a country", `(UG|UJ|VR|YW)#{9}YP`, 3, nil},
	{"yunexpress", "YT and 16 digits", `YT#{16}`, 5, nil},

	// Posts. A number names the post that gave it; another may deliver.
	{"singapore-speedpost", "EMS of Singapore, UPU S10", `E@#{9}SG`, 3, checkS10()},
	{"", "UPU S10", `@@#{9}@@`, 10, checkS10()},
	{"canada-post", "16 digits", `#{16}`, 2, checkMod10(from(0, gs1))},

	// Integrators.
	{"ups", "1Z and 16 characters", `1Z*{15}#`, 20, checkMod10(from(2, mod10(1, 2)))},
	{"ups", "waybill, a letter and 10 digits", `[AHJKTV]#{10}`, 1, checkMod10(from(1, mod10(1, 2)))},
	{"fedex", "12 digits", `#{12}`, 10, checkMod11(from(0, weighted11(3, 1, 7)))},
	{"fedex", "Ground, 15 digits", `#{15}`, 5, checkMod10(from(0, gs1))},
	{"fedex", "Ground, SSCC-18", `(00|01|02|04)#{16}`, 1, checkMod10(from(0, gs1))},
	{"fedex", "Ground, 96 and 20 digits", `96#{20}`, 5, checkMod10(last(15, gs1))},
	{"fedex", "Ground, 34 digits from 96", `96#{32}`, 5, checkMod11(last(14, weighted11(1, 7, 3)))},
	{"fedex", "34 digits", `[0-8]#{33}`, 5, checkMod11(last(14, weighted11(1, 7, 3)))},
	{"fedex", "ASTRA, 32 digits", `3#{31}`, 2, checkMod11(func(n string) bool { return from(16, weighted11(3, 1, 7))(n[:28]) })},
	{"dhl", "10 digits", `#{10}`, 10, checkMod7(from(0, mod7))},
	{"dhl", "11 digits", `#{11}`, 2, checkMod7(from(0, mod7))},
	{"dhl", "piece, J and letters", `J@{2,3}#{9,10}`, 3, nil},
	{"dhl", "piece, JD and 16 to 18 digits", `JD#{16,18}`, 3, nil},
	{"dhlecommerce", "GM and 10 to 39 characters", `GM*{10,39}`, 2, nil},
	{"dhlecommerce", "two letters and 10 to 39 characters", `(LX|RX|UV|CN|SG|TH|IN|HK|MY)*{10,39}`, 0.02, nil},
	{"dhlecommerce", "14 digits", `#{14}`, 1, nil},

	// United States and Canada.
	{"usps", "20 digits", `#{20}`, 3, checkMod10(from(0, gs1))},
	{"usps", "20 digits, 91 left out", `#{20}`, 3, checkMod10(func(n string) bool { return from(0, gs1)("91" + n) })},
	{"usps", "91 and 20 digits", `91#{20}`, 5, checkMod10(last(22, gs1))},
	{"usps", "ZIP code and 20 digits", `420#{25}`, 3, checkMod10(func(n string) bool { return from(0, gs1)("91" + n[8:]) })},
	{"usps", "ZIP code, 91 and 20 digits", `420#{5}91#{20}`, 3, checkMod10(last(22, gs1))},
	{"usps", "ZIP+4 code and 20 digits", `420#{29}`, 3, checkMod10(func(n string) bool { return from(0, gs1)("91" + n[12:]) })},
	{"usps", "ZIP+4 code, 91 and 20 digits", `420#{9}91#{20}`, 3, checkMod10(last(22, gs1))},
	{"usps", "IMpb, 22 digits", `(92|94|95)###9#{16}`, 10, checkMod10(last(22, gs1))},
	{"usps", "IMpb, 22 digits", `(93|94|95)###[0-8]#{16}`, 10, checkMod10(last(22, gs1))},
	{"usps", "IMpb, 26 digits", `(92|94|95)###9#{20}`, 10, checkMod10(last(26, gs1))},
	{"usps", "IMpb, 26 digits", `(93|94|95)###[0-8]#{20}`, 10, checkMod10(last(26, gs1))},
	{"usps", "IMpb, 30 digits", `94###9#{24}`, 5, checkMod10(last(30, gs1))},
	{"usps", "IMpb with ZIP code, 30 digits", `420#{5}(92|94|95)###9#{16}`, 10, checkMod10(last(22, gs1))},
	{"usps", "IMpb with ZIP code, 30 digits", `420#{5}(93|94|95)###[0-8]#{16}`, 10, checkMod10(last(22, gs1))},
	{"usps", "IMpb with ZIP code, 34 digits", `420#{5}(92|94|95)###9#{20}`, 10, checkMod10(last(26, gs1))},
	{"usps", "IMpb with ZIP code, 34 digits", `420#{5}(93|94|95)###[0-8]#{20}`, 10, checkMod10(last(26, gs1))},
	{"usps", "IMpb with ZIP+4 code, 34 digits", `420#{9}(92|94|95)###9#{16}`, 10, checkMod10(last(22, gs1))},
	{"usps", "IMpb with ZIP+4 code, 34 digits", `420#{9}(93|94|95)###[0-8]#{16}`, 10, checkMod10(last(22, gs1))},
	{"kdn-amazon", "TBA and 12 digits", `TB[ACM]#{12}`, 10, nil},
	{"kdn-amazon", "a letter and 10 digits", `[AFC]#{10}`, 1, nil},
	{"ontrac", "C and 14 digits", `C#{14}`, 3, checkMod10(func(n string) bool { return ontrac(n, '4') })},
	{"ontrac", "D and 14 digits", `D#{14}`, 3, checkMod10(func(n string) bool { return ontrac(n, '5') })},
	{"lasership", "L, a letter and 8 digits", `L[AIEHNX][1-3]#{7}`, 3, nil},
	{"lasership", "1LS7 and digits", `1LS7[12]#{10}`, 3, nil},
	{"lasership", "1LS7 and digits", `1LS7[12]##01[1-4]#{6}-1`, 3, nil},
	{"lasership", "1LSCX and 10 characters", `1LSCX*{10}`, 3, nil},
	{"old-dominion", "11 digits", `(777|778|072|780)#{8}`, 1, checkLuhn(from(0, luhn))},
	{"old-dominion", "guaranteed, 11 digits", `80#{9}`, 1, checkLuhn(from(0, luhn))},
	{"speedee", "SP and 18 digits", `SP#{18}`, 2, nil},
	{"gofo", "GFUS and 14 digits", `GFUS#{14}`, 2, nil},
	{"landmarkglobal", "LTN, 8 digits and N1", `LTN#{8}N1`, 3, nil},
	{"canpar", "a letter and 21 digits", `[CDKLSUXZ]#{21}`, 2, nil},
	{"purolator", "12 digits", `[0-5]#{11}`, 2, checkLuhn(from(0, luhn))},
	{"purolator", "3 letters and 9 digits", `@{3}#{9}`, 2, nil},

	// Europe.
	{"dpd", "28 characters", `#{27}*`, 3, checkISO(from(0, mod3736))},
	{"dpd", "15 characters", `#{14}*`, 2, checkISO(from(0, mod3736))},
	{"yodel", "JD and 16 digits", `JD#{16}`, 3, nil},
	{"yodel", "JJD and 16 digits", `JJD#{16}`, 3, nil},

	// Posthaste's own: numbers that its simulator plays.
	{Simulated, "a number of the simulator", `SIM-@{3,16}-*{1,20}`, 20, nil},
}

// Simulated is the carrier of the numbers that are reserved for the simulator.
const Simulated track.Carrier = "simulated"

// ontrac is OnTrac's rule: the serial number begins with a digit for the letter,
// unless it does anyway.
func ontrac(number string, begin byte) bool {
	serial := number[1:]
	if serial[0] != begin {
		serial = string(begin) + serial
	}
	return from(0, mod10(1, 2))(serial)
}

// needs are what carriers ask for beside the number before they tell anything.
var needs = map[track.Carrier][]string{
	"sf-express": {"phone"}, "zto-express": {"phone"}, "fengwang": {"phone"}, "kye-express": {"phone"},
}

// form is one length of a format.
type form struct {
	*format

	template template
}

// byLength is every form by the length of its numbers.
var byLength = sync.OnceValue(func() map[int][]form {
	all := make(map[int][]form)
	for i := range formats {
		for _, t := range parse(formats[i].pattern) {
			all[len(t)] = append(all[len(t)], form{&formats[i], t})
		}
	}
	return all
})

package privacy

import "testing"

func TestMask_HidesWhoAndHowToReachThem(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"快件已由 张三丰 签收，电话 13812345678":   "快件已由 张** 签收，电话 138******78",
		"派送中，快递员李四 +86-138-1234-5678":  "派送中，快递员李* +86-138-****-**78",
		"电话 0755-8888 6666":            "电话 0755-**** **66",
		"电话：１３８１２３４５６７８。":              "电话：１３８******７８。",
		"13812345678,13912345678":      "138******78,139******78",
		"签收人：王小明":                      "签收人：王**",
		"派件员：欧阳锋，电话：(010)87654321":     "派件员：欧**，电话：(010)******21",
		"快递员张三正在为您派件":                  "快递员张*正在为您派件",
		"您的取件码为 8-2-4043，请尽快取件":        "您的取件码为 ***，请尽快取件",
		"Pickup code: A1B2C3":          "Pickup code: ***",
		"Signed by: JOHN SMITH":        "Signed by: J*** S****",
		"身份证 11010119900307123X":       "身份证 " + Phone("11010119900307123X"),
		"mail someone@example.com now": "mail ***@example.com now",
		"送至 3栋2单元501室":                 "送至 *栋*单元*室",
		"call +44 20 7946 0958 please": "call " + Phone("+44 20 7946 0958") + " please",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%s\n is %s\nwant %s", in, got, want)
		}
	}
}

func TestMask_LeavesWhatIsNotPersonal(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"运单 773123456789012 到达 13号仓库", "快件已由 前台 签收", "已由本人签收", "快递员正在派送", "快件到达【深圳转运中心】", "2026-11-25 09:30:00 到达", "Departed from facility 12",
		"SF1234567890123 已揽收", "1Z999AA10123456784", "", "客服电话95338", "快件在 广州市 13:45 发出", "收件人不在家，改约明天",
	} {
		if got := Mask(s); got != s {
			t.Errorf("%s is %s", s, got)
		}
	}
	if s := "运单 13812345678 已揽收"; Mask(s, "13812345678") != s {
		t.Errorf("the waybill's own number is hidden: %s", Mask(s, "13812345678"))
	}
}

func FuzzMask(f *testing.F) {
	f.Add("快件已由 张三丰 签收，电话 13812345678")
	f.Add("13812345678 13812345678x")
	f.Fuzz(func(t *testing.T, s string) {
		if got := Mask(s); mobile.MatchString(got) {
			t.Fatalf("%q is %q", s, got)
		}
	})
}

package recognize

import (
	"strings"
	"sync"

	"github.com/posthaste/posthaste/services/internal/track"
)

// namedPosts are the postal operators by the country letters at the end of
// their S10 numbers (ISO 3166-1), with Posthaste's code of each.
const namedPosts = `
AE:emirates AF:afghan AL:albania AM:haypost AO:kdn-iaglyz AT:austria AU:australia-post AW:aruba AX:aland AZ:azerbaijan BA:bohei BB:barbados
BD:bangladesh BE:bpost BF:sonapost BG:bulgarian BH:bahrain BI:kdn-burundipost BJ:benin BM:kdn-bermudapost BN:brunei BO:kdn-correosbolivia
BR:brazilposten BT:bhutan BW:botspost BY:belpost BZ:belize CA:canada-post CH:swiss-post CL:chile CN:china-post-parcel CO:colombia CR:correos
CU:kdn-cubapost CY:cypruspost CZ:ceskaposta DE:deutsche-post DJ:djibouti DK:postdanmarken DO:inposdom DZ:kdn-iaejlyyz EC:ecuador EE:omniva EG:egypt
ES:correosdees ET:ethiopian FI:finland FJ:fiji FR:la-poste-colissimo GB:royal-mail GE:georgianpost GG:guernsey GH:ghanapost GI:gibraltar
GP:kdn-igdlpdyz GR:elta GT:kdn-iwdmlyz GY:guyana HK:hongkong-post HN:honduras HR:hrvatska HU:hungary ID:indonesia IE:anposten IL:israelpost IN:india
IR:iran IS:iceland IT:italiane JE:jerseypost JM:jamaicapost JO:jordan JP:japan-post KE:kenya KG:kyrgyzpost KH:cambodia KR:korea-post KZ:kazpost
LB:libanpost LC:stlucia LK:slpost LS:lesotho LU:luxembourg LV:latviaen MA:morocco MD:moldova ME:montenegro MK:macedonia MN:mongolpost MO:macau-post
MT:malta MU:mauritius MV:maldives MX:mexico MY:malaysiapost NA:namibia NC:kdn-ixgldnyyz NG:nigerianpost NL:postnl NO:postennorge NP:nepalpost
NZ:newzealand OM:oman PA:panama PE:peru PG:postpng PH:phlpost PK:pakistan PL:kdn-blyz PR:kdn-ibdlgyz PT:kdn-ctt PY:kdn-correoparaguayo QA:qpost
RO:romanian RS:serbia RU:russian-post SA:saudipost SB:solomon SD:sudapost SE:ruidianyouzheng SG:singapore-post SI:slovenia SK:slovak SN:laposte
SR:surpost SY:republic SZ:swaziland TG:togo TH:thailand TN:tunisia TR:ptt TW:taiwan-post TZ:tanzania UA:ukrpost UG:uganda US:usps UY:kdn-iwlgyz
UZ:uzbekistan VN:vnpost VU:vanuatu WS:samoa YE:yemen ZA:southafrican ZM:zampost ZW:kdn-ijbbwyz`

// otherPosts issue S10 numbers and have no code of their own in the table of
// carriers: theirs is "post-" and the country.
const otherPosts = `
AG AR BS CD CF CG CI CM CV DM ER FK FO GA GD GL GM GN GQ GW HT IM IQ KI KM KN KP KW KY LA LI LR LT LY MC MG ML MM MR MW MZ NE NI NR PF RE RW SC SL SM
SO SS ST SV TD TJ TL TM TO TT TV VA VC VE`

// posts maps country letters to the postal operator that issues their numbers.
var posts = sync.OnceValue(func() map[string]track.Carrier {
	all := make(map[string]track.Carrier)
	for pair := range strings.FieldsSeq(namedPosts) {
		country, code, _ := strings.Cut(pair, ":")
		all[country] = track.Carrier(code)
	}
	for country := range strings.FieldsSeq(otherPosts) {
		all[country] = track.Carrier("post-" + strings.ToLower(country))
	}
	return all
})

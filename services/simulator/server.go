package simulator

import (
	"crypto/md5" //nolint:gosec // what both platforms sign with
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/posthaste/posthaste/services/internal/journey"
)

// Config says what is simulated.
type Config struct {
	// Seed decides everything that is by chance.
	Seed uint64
	// Speed is how much faster than real journeys go: 3600 makes an hour of one
	// second.
	Speed float64
	// Start is when all journeys begin, but for a delay of each.
	Start time.Time
	// Kdniao are AppKeys by EBusinessID, Kuaidi100 keys by customer, DHL is the API
	// key. What is empty isn't checked.
	Kdniao, Kuaidi100 map[string]string
	DHL               string
	// FailEvery has one of so many queries fail, by turns as a fault and as too many; 0
	// for none.
	FailEvery int64
	Log       *slog.Logger
	Now       func() time.Time
}

// Simulator plays journeys.
type Simulator struct {
	cfg     Config
	queries atomic.Int64
}

// New makes a simulator.
func New(cfg Config) *Simulator { return &Simulator{cfg: cfg} }

// Queries is how many were answered.
func (s *Simulator) Queries() int64 { return s.queries.Load() }

// told is what a source tells of a number by now. Events end in the past, however
// fast time goes.
func (s *Simulator) told(number string) []journey.Event {
	p := journey.Of(s.cfg.Seed, number)
	return p.Told(s.cfg.Start.Add(-p.Length()), s.elapsed(s.cfg.Now()))
}

func (s *Simulator) elapsed(now time.Time) time.Duration {
	return time.Duration(float64(now.Sub(s.cfg.Start)) * s.cfg.Speed)
}

// maxBody is the largest query that is read.
const maxBody = 1 << 20

// Handler answers the queries of all sources; their paths differ.
func (s *Simulator) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/Ebusiness/EbusinessOrderHandle.aspx", "/api/dist"} {
		mux.HandleFunc("POST "+path, s.faulty(s.kdniao))
	}
	mux.HandleFunc("POST /poll/query.do", s.faulty(s.kuaidi100))
	mux.HandleFunc("GET /track/shipments", s.faulty(s.dhl))
	return mux
}

// faulty fails now and then before it answers.
func (s *Simulator) faulty(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := s.queries.Add(1)
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		if every := s.cfg.FailEvery; every > 0 && n%every == 0 {
			if n/every%2 == 0 {
				w.Header().Set("Retry-After", "1")
				http.Error(w, "too many", http.StatusTooManyRequests)
				return
			}
			http.Error(w, "a simulated fault", http.StatusInternalServerError)
			return
		}
		answer(w, r)
	}
}

func (s *Simulator) kdniao(w http.ResponseWriter, r *http.Request) {
	data, account := r.FormValue("RequestData"), r.FormValue("EBusinessID")
	refuse := func(reason string) {
		write(w, map[string]any{"EBusinessID": account, "Success": false, "Reason": reason})
	}
	if len(s.cfg.Kdniao) > 0 {
		key, ok := s.cfg.Kdniao[account]
		sum := md5.Sum([]byte(data + key)) //nolint:gosec // what Kdniao signs with
		want := base64.StdEncoding.EncodeToString([]byte(hex.EncodeToString(sum[:])))
		if !ok || subtle.ConstantTimeCompare([]byte(want), []byte(r.FormValue("DataSign"))) != 1 {
			refuse("非法参数[请核实ID和key是否正确]")
			return
		}
	}
	switch kind := r.FormValue("RequestType"); kind {
	case "1002", "8001", "8002":
	default:
		refuse("the simulator answers RequestType 1002, 8001 and 8002, and not " + kind)
		return
	}
	var q struct{ ShipperCode, LogisticCode string }
	if err := json.Unmarshal([]byte(data), &q); err != nil || q.LogisticCode == "" {
		refuse("无效的输入[【LogisticCode】不正确]")
		return
	}
	write(w, journey.Kdniao(account, q.ShipperCode, q.LogisticCode, s.told(q.LogisticCode)))
}

func (s *Simulator) kuaidi100(w http.ResponseWriter, r *http.Request) {
	param, customer := r.FormValue("param"), r.FormValue("customer")
	refuse := func(code, message string) {
		write(w, map[string]any{"result": false, "returnCode": code, "message": message})
	}
	if len(s.cfg.Kuaidi100) > 0 {
		key, ok := s.cfg.Kuaidi100[customer]
		sum := md5.Sum([]byte(param + key + customer)) //nolint:gosec // what Kuaidi100 signs with
		want := strings.ToUpper(hex.EncodeToString(sum[:]))
		if !ok || subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToUpper(r.FormValue("sign")))) != 1 {
			refuse("503", "验证签名失败")
			return
		}
	}
	var q struct{ Com, Num string }
	if err := json.Unmarshal([]byte(param), &q); err != nil || q.Com == "" || q.Num == "" {
		refuse("400", "提交的数据不完整")
		return
	}
	told := s.told(q.Num)
	if len(told) == 0 {
		refuse("500", "查询无结果，请隔段时间再查")
		return
	}
	write(w, journey.Kuaidi100(q.Com, q.Num, told))
}

func (s *Simulator) dhl(w http.ResponseWriter, r *http.Request) {
	if key := s.cfg.DHL; key != "" && subtle.ConstantTimeCompare([]byte(key), []byte(r.Header.Get("DHL-API-Key"))) != 1 {
		http.Error(w, `{"title":"Unauthorized","status":401}`, http.StatusUnauthorized)
		return
	}
	number := r.URL.Query().Get("trackingNumber")
	told := s.told(number)
	if len(told) == 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"title":"No result found","status":404}`)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(journey.DHL(number, told)) //nolint:gosec // a name of ours, not a secret; or what a tool of tests is told
}

// write answers JSON, 200 whatever it says, as both platforms do.
func write(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	_, _ = w.Write(data)
}

// Number is the i-th of the numbers that a seed pushes, of SF's form.
func (s *Simulator) Number(i int) string {
	const spread = 2654435761 // odd, so that numbers of two seeds seldom meet
	return fmt.Sprintf("SF%013d", (s.cfg.Seed%1_000_000)*spread%1_000_000*10_000_000+uint64(i))
}

// values makes the form of a push.
func values(pairs ...string) string {
	v := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v.Encode()
}

package carrier

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/posthaste/posthaste/services/internal/track"
)

// WriteDocs writes docs/sources.md: the sources' facts, for who sets them up.
func WriteDocs(w io.Writer) error {
	var b strings.Builder
	b.WriteString(docsHead)
	b.WriteString("| source | | takes in | codes |\n| --- | --- | --- | --- |\n")
	for _, s := range Sources() {
		way := "is asked"
		if s.Push != nil {
			way = "pushes"
		}
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s, %s | %s | %d |\n", s.Code, s.Code, s.Facts.Name, way, s.Facts.Reports, s.Known())
	}
	b.WriteString("\n## Sources that push\n")
	for _, s := range Sources() {
		if s.Push != nil {
			s.document(&b)
		}
	}
	b.WriteString("\n## Carriers that are asked\n\nThey have no receiver. Pollers and `posthaste normalize` use them.\n")
	for _, s := range Sources() {
		if s.Push == nil {
			s.document(&b)
		}
	}
	b.WriteString("\n## Where the codes come from\n\n" +
		"Status code lists derived from OLTS — Open Logistics Tracking Schema (open-logistics-tracking/OLTS), CC BY 4.0, changed; from carriers' and\n" +
		"aggregators' documents; and from recorded pushes and answers. The tables are `services/internal/carrier/tables/*.csv`, a line for each code.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// Known is how many codes the source's tables know.
func (s Source) Known() int {
	switch s.Code {
	case kdniaoCode:
		return len(kdniaoStateEx) + len(kdniaoState)
	case kuaidi100Code:
		return len(kuaidi100Rules)
	}
	return len(meanings()[s.Code])
}

func (s Source) document(b *strings.Builder) {
	f := &s.Facts
	fmt.Fprintf(b, "\n### %s\n\n%s: %s.\n\n", s.Code, f.Name, f.Reports)
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(b, "- %s: %s.\n", what, text)
		}
	}
	if p := s.Push; p != nil {
		path := "`/v1/sources/" + s.Code + "/{account}`"
		switch {
		case p.AnyPath:
			path = "`/v1/sources/" + s.Code + "`"
		case !p.NeedsAccount:
			path += ", or without the account, where the push or its signature tells it"
		}
		line("Path", path)
	}
	line("Account", f.Account)
	line("Verified by", f.Verify)
	line("Success", f.Answer)
	line("Times", f.Times)
	for _, note := range f.Notes {
		fmt.Fprintf(b, "- %s", note)
		if !strings.HasSuffix(note, ".") {
			b.WriteString(".")
		}
		b.WriteString("\n")
	}
	for _, u := range f.Unverified {
		fmt.Fprintf(b, "- **Unverified:** %s.\n", strings.TrimSuffix(u, "."))
	}
	if spaces := s.spaces(); s.Kind != track.SourceAggregatorPush && len(spaces) > 1 {
		line("Code spaces", "`"+strings.Join(spaces, "`, `")+"`")
	}
}

// spaces are the code spaces of a source's table.
func (s Source) spaces() []string {
	var spaces []string
	for c := range meanings()[s.Code] {
		if !slices.Contains(spaces, c.space) {
			spaces = append(spaces, c.space)
		}
	}
	slices.Sort(spaces)
	return spaces
}

const docsHead = `# Sources

<!-- Made from services/internal/carrier by hack/generate; change it there. -->

What Posthaste takes in, and how each source is set up. A source that pushes needs an account:

` + "```" + `
posthaste serve --source-account 'fedex:shop=SECURITY-TOKEN;zto:COMPANY-ID=@/run/secrets/zto'
` + "```" + `

An account is SOURCE:NAME=SECRET; several are separated by semicolons, or stand in ` + "`POSTHASTE_SOURCE_ACCOUNT`" + `. ` + "`@FILE`" + ` reads the secret from a
file. Kdniao and Kuaidi100 have flags of their own too. Give the source the URL ` + "`https://your-host/v1/sources/{source}/{name}`" + `; a source that signs
nothing needs a key behind it, which is the secret: ` + "`/v1/sources/{source}/{name}/{secret}`" + ` or ` + "`?key={secret}`" + `. An account with an empty secret takes what
anybody sends to its URL.

A push is answered with success when all of it is on disk. A wrong signature is answered 401 in the source's own form, what can't be read 400, more than
4 MiB 413, and 503 when nothing can be kept now. One waybill that can't be used takes nothing else with it: it goes to the stream of rejected
reports with the field and the reason. What was told before is told again without effect. A code that no table knows never fails: the parcel keeps its
status, ` + "`posthaste_normalizer_unmapped_total`" + ` counts it, and the raw code is kept, so that it can be mapped later: ` + "`posthaste remap`" + ` does, after the
tables were mended. What several sources tell of one waybill is one trace; [payload.md](payload.md) has the rules. Bodies may be packed by gzip; forms of
Chinese carriers may be GBK.

`

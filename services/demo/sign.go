package demo

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/posthaste/posthaste/services/internal/carrier"
)

// Accounts are those of the sources, as they would be at them.
type Accounts struct {
	// KdniaoID is the EBusinessID, and KdniaoKey the AppKey.
	KdniaoID, KdniaoKey string
	// Name is that of the accounts at all others; for Kuaidi100 it is the last part of
	// the callback's path.
	Name string
	// Kuaidi100Salt is that of the subscriptions, and Secret the secret at all others.
	Kuaidi100Salt, Secret string
}

// NewAccounts makes accounts with secrets that nobody else knows.
func NewAccounts() Accounts {
	return Accounts{KdniaoID: "1237100", KdniaoKey: rand.Text(), Name: "demo", Kuaidi100Salt: rand.Text(), Secret: rand.Text()}
}

// Others are the secrets of the accounts at sources other than Kdniao and Kuaidi100,
// by the source and the account's name: "fedex:demo".
func (a Accounts) Others() map[string]string {
	all := map[string]string{}
	for _, source := range pushing() {
		if source.Code != kdniaoSource && source.Code != kuaidi100Source {
			all[source.Code+":"+a.Name] = a.Secret
		}
	}
	return all
}

// pushing are the sources that push.
func pushing() []carrier.Source {
	var all []carrier.Source
	for _, code := range carrier.Codes() {
		if s, ok := carrier.Lookup(code); ok && s.Push != nil {
			all = append(all, s)
		}
	}
	return all
}

// sign makes the push of a source's document.
func (a Accounts) sign(source string, doc []byte, now time.Time) (carrier.Post, error) {
	name, secret := a.Name, a.Secret
	switch source {
	case kdniaoSource:
		name, secret = a.KdniaoID, a.KdniaoKey
	case kuaidi100Source:
		secret = a.Kuaidi100Salt
	}
	s, _ := carrier.Lookup(source)
	post, ok := s.Send(doc, name, secret, now)
	if !ok {
		return carrier.Post{}, fmt.Errorf("source %s doesn't push", source)
	}
	return post, nil
}

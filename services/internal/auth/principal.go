package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Role is a set of things that a principal may do. Its numbers are those of
// tenant.v1.Role.
type Role int16

// The roles.
const (
	Admin    Role = 1
	Owner    Role = 2
	Writer   Role = 3
	Reader   Role = 4
	Reporter Role = 5
)

var roleNames = map[Role]string{Admin: "admin", Owner: "owner", Writer: "writer", Reader: "reader", Reporter: "reporter"}

// String is the role as it is written in claims and configuration.
func (r Role) String() string { return roleNames[r] }

// ParseRole reads a role as [Role.String] writes it.
func ParseRole(text string) (Role, error) {
	for r, name := range roleNames {
		if strings.EqualFold(name, text) {
			return r, nil
		}
	}
	return 0, fmt.Errorf("%q is not a role: admin, owner, writer, reader, reporter", text)
}

// Scope is one kind of thing to do.
type Scope uint8

// The scopes.
const (
	// Read is to look at what a tenant has.
	Read Scope = iota + 1
	// Write is to make and change endpoints and subscriptions.
	Write
	// Manage is to manage a tenant's keys and to read its audit log.
	Manage
	// Report is to report trace events.
	Report
	// Operate is to manage tenants and the platform.
	Operate
)

var scopesOf = map[Role][]Scope{
	Admin:    {Read, Write, Manage, Report, Operate},
	Owner:    {Read, Write, Manage},
	Writer:   {Read, Write},
	Reader:   {Read},
	Reporter: {Report},
}

// Principal is who calls.
type Principal struct {
	// Name is who that is, for the audit log: a key's resource name,
	// "users/{subject}", "services/{identity}" or "anonymous".
	Name string
	// Tenant is whose things it sees; empty means the platform's: those of all.
	Tenant string
	// Roles are what it may do.
	Roles []Role
	// Open says that nobody was asked who they are.
	Open bool
}

// Anonymous is everybody where nobody is asked who they are, and Posthaste
// itself. It may do everything.
func Anonymous() Principal { return Principal{Name: "anonymous", Roles: []Role{Admin}, Open: true} }

// May says whether one of the roles has a scope.
func (p *Principal) May(s Scope) bool {
	for _, r := range p.Roles {
		if slices.Contains(scopesOf[r], s) {
			return true
		}
	}
	return false
}

// Sees says whether it may know of what belongs to a tenant. An empty tenant
// means what is the platform's.
func (p *Principal) Sees(tenant string) bool { return p.Tenant == "" || p.Tenant == tenant }

// MayGrant says whether it may make a key with a role: nobody gives more than
// they have.
func (p *Principal) MayGrant(r Role) bool {
	scopes := scopesOf[r]
	for _, s := range scopes {
		if !p.May(s) {
			return false
		}
	}
	return len(scopes) > 0
}

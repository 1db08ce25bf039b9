package rpc

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

var (
	tenantID = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)
	// Ids are made by the server; anything else can't exist.
	resourceID  = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	carrierCode = regexp.MustCompile(`^[a-z0-9_-]{2,40}$`)
)

// Limits of a waybill number, in characters.
const (
	minWaybill = 4
	maxWaybill = 64
)

// TenantName is "tenants/{tenant}".
func TenantName(tenant string) string { return "tenants/" + tenant }

// EndpointName is "tenants/{tenant}/endpoints/{endpoint}".
func EndpointName(tenant, endpoint string) string {
	return TenantName(tenant) + "/endpoints/" + endpoint
}

// SubscriptionName is "tenants/{tenant}/subscriptions/{subscription}".
func SubscriptionName(tenant, subscription string) string {
	return TenantName(tenant) + "/subscriptions/" + subscription
}

// Platform is the parent of what belongs to no tenant.
const Platform = "platform"

// KeyName is "tenants/{tenant}/keys/{key}", or "platform/keys/{key}" without a
// tenant.
func KeyName(tenant, key string) string { return OwnerName(tenant) + "/keys/" + key }

// OwnerName is "tenants/{tenant}", or "platform" without a tenant.
func OwnerName(tenant string) string {
	if tenant == "" {
		return Platform
	}
	return TenantName(tenant)
}

// ParseOwnerName reads a name made by [OwnerName].
func ParseOwnerName(name string) (tenant string, err error) {
	if name == Platform {
		return "", nil
	}
	return ParseTenantName(name)
}

// ParseKeyName reads a name made by [KeyName].
func ParseKeyName(name string) (tenant, key string, err error) {
	if !strings.HasPrefix(name, Platform+"/") {
		return parseChild(name, "tenants/{tenant}/keys/{key}")
	}
	parts, err := split(name, "platform/keys/{key}")
	if err != nil {
		return "", "", err
	}
	if !resourceID.MatchString(parts[0]) {
		return "", "", fmt.Errorf("%q: %q can't be an id", name, parts[0])
	}
	return "", parts[0], nil
}

// WaybillName is "waybills/{carrier_code}/{waybill_number}", the number escaped
// as in a URL's path: carriers use '/' and worse.
func WaybillName(carrier, number string) string {
	return "waybills/" + carrier + "/" + url.PathEscape(number)
}

// ParseTenantName reads a name made by [TenantName]. Its error, like that of the
// others, is plain: wrap it with [Invalid] and the field's name.
func ParseTenantName(name string) (tenant string, err error) {
	parts, err := split(name, "tenants/{tenant}")
	if err != nil {
		return "", err
	}
	return parts[0], checkTenant(name, parts[0])
}

// ParseEndpointName reads a name made by [EndpointName].
func ParseEndpointName(name string) (tenant, endpoint string, err error) {
	return parseChild(name, "tenants/{tenant}/endpoints/{endpoint}")
}

// ParseSubscriptionName reads a name made by [SubscriptionName].
func ParseSubscriptionName(name string) (tenant, subscription string, err error) {
	return parseChild(name, "tenants/{tenant}/subscriptions/{subscription}")
}

// PushJobName is "tenants/{tenant}/pushJobs/{job}".
func PushJobName(tenant, job string) string { return TenantName(tenant) + "/pushJobs/" + job }

// ParsePushJobName reads a name made by [PushJobName].
func ParsePushJobName(name string) (tenant, job string, err error) {
	return parseChild(name, "tenants/{tenant}/pushJobs/{job}")
}

// ParseWaybillName reads a name made by [WaybillName].
func ParseWaybillName(name string) (carrier, number string, err error) {
	parts, err := split(name, "waybills/{carrier_code}/{waybill_number}")
	if err != nil {
		return "", "", err
	}
	carrier = parts[0]
	if !carrierCode.MatchString(carrier) {
		return "", "", fmt.Errorf("%q: a carrier code has 2 to 40 characters of a–z, 0–9, '-' and '_'", name)
	}
	number, err = url.PathUnescape(parts[1])
	if err != nil {
		return "", "", fmt.Errorf("%q: the waybill number is not escaped as in a URL's path", name)
	}
	n := utf8.RuneCountInString(number)
	if n < minWaybill || n > maxWaybill || !utf8.ValidString(number) || strings.ContainsFunc(number, unprintable) {
		return "", "", fmt.Errorf("%q: a waybill number has %d to %d printable characters", name, minWaybill, maxWaybill)
	}
	return carrier, number, nil
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) || unicode.IsSpace(r) }

func parseChild(name, pattern string) (tenant, id string, err error) {
	parts, err := split(name, pattern)
	if err != nil {
		return "", "", err
	}
	if err := checkTenant(name, parts[0]); err != nil {
		return "", "", err
	}
	if !resourceID.MatchString(parts[1]) {
		return "", "", fmt.Errorf("%q: %q can't be an id", name, parts[1])
	}
	return parts[0], parts[1], nil
}

func checkTenant(name, tenant string) error {
	if !tenantID.MatchString(tenant) {
		return fmt.Errorf("%q: a tenant has 1 to 40 characters of a–z, 0–9 and '-', and doesn't begin with '-'", name)
	}
	return nil
}

// split returns the variable parts of a name that follows a pattern.
func split(name, pattern string) ([]string, error) {
	got, want := strings.Split(name, "/"), strings.Split(pattern, "/")
	var parts []string
	for i, w := range want {
		switch {
		case len(got) != len(want):
		case strings.HasPrefix(w, "{") && got[i] != "":
			parts = append(parts, got[i])
			continue
		case got[i] == w:
			continue
		}
		return nil, fmt.Errorf("%q is not of the form %q", name, pattern)
	}
	return parts, nil
}

// resourceTypes by the collection that a name ends in.
var resourceTypes = map[string]string{
	"tenants": "Tenant", "endpoints": "Endpoint", "subscriptions": "Subscription", "waybills": "Waybill", "pushes": "Push", "pushJobs": "PushJob", "keys": "Key",
}

// ResourceType is the type of the resource a name is of, such as
// "posthaste.dev/Subscription", empty when the name tells nothing.
func ResourceType(name string) string {
	parts := strings.Split(name, "/")
	for i := len(parts) - 2; i >= 0; i-- {
		if t := resourceTypes[parts[i]]; t != "" {
			return Domain + "/" + t
		}
	}
	return ""
}

// FeedUserName is "tenants/{tenant}/feedUsers/{feed_user}".
func FeedUserName(tenant, user string) string { return TenantName(tenant) + "/feedUsers/" + user }

// ParseFeedUserName reads a name made by [FeedUserName].
func ParseFeedUserName(name string) (tenant, user string, err error) {
	return parseChild(name, "tenants/{tenant}/feedUsers/{feed_user}")
}
